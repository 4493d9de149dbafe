//! Discovery without a network: which pages are asked, what is read out of them, what addresses come of it.

use appc_spec::discovery::{Endpoint, Kind, MAX_TAGS, MetaTag, endpoints, for_this_host, is_prefix, keys, meta_tags};
use appc_spec::discovery::{page, prefixes};
use appc_spec::{ImageName, host_arch};
use proptest::prelude::*;

fn name(text: &str) -> ImageName {
    text.parse().expect("an image name")
}

fn images(prefix: &str, template: &str) -> MetaTag {
    MetaTag { kind: Kind::Images, prefix: prefix.into(), template: template.into() }
}

fn addresses(template: &str, image: &str) -> Vec<String> {
    endpoints(&[images("example.com", template)], &name(image)).into_iter().map(|e| e.image).collect()
}

#[test]
fn pages_are_asked_from_the_name_up_to_the_host() {
    let asked = |text: &str| prefixes(&text.parse().expect("a name")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(asked("example.com/a/b"), ["example.com/a/b", "example.com/a", "example.com"]);
    assert_eq!(asked("example.com"), ["example.com"]);
    assert_eq!(asked("a//b"), ["a//b", "a"]);
    assert_eq!(page("https", "example.com/a", None), "https://example.com/a?ac-discovery=1");
    assert_eq!(page("http", "example.com/a/b", Some(8443)), "http://example.com:8443/a/b?ac-discovery=1");
}

#[test]
fn prefixes_end_where_components_end() {
    for (prefix, name, expected) in [
        ("example.com", "example.com", true),
        ("example.com", "example.com/app", true),
        ("example.com/", "example.com/app", true),
        ("example.com/app", "example.com/app", true),
        ("example.co", "example.com/app", false),
        ("example.com/app", "example.com/application", false),
        ("example.com/app/more", "example.com/app", false),
        ("", "example.com", false),
        ("/", "example.com", false),
    ] {
        assert_eq!(is_prefix(prefix, name), expected, "{prefix} of {name}");
    }
}

#[test]
fn tags_are_found_however_they_are_written() {
    let expected = [images("example.com", "https://storage.example.com/{os}/{arch}/{name}-{version}.{ext}")];
    let template = "https://storage.example.com/{os}/{arch}/{name}-{version}.{ext}";
    for tag in [
        format!("<meta name=\"ac-discovery\" content=\"example.com {template}\">"),
        format!("<META CONTENT='example.com {template}' NAME=AC-Discovery />"),
        format!("<meta\n  content = \"  example.com\n\t {template} \"\n  lang=en data-x name='ac-discovery'\n>"),
        format!("<meta name=ac-discovery content=\"example.com https:&#x2F;&#47;{}\"/>", &template["https://".len()..]),
        format!(
            "<!-- <meta name=ac-discovery content='a b'> --><meta name=\"ac-discovery\" content=\"example.com {template}\">"
        ),
        format!(
            "<script>if (a<b) '<meta name=ac-discovery content=\"a b\">'</script ><meta name=\"ac-discovery\" content=\"example.com {template}\">"
        ),
        format!(
            "<title>a <meta name=ac-discovery content='a b'></title><p a=\">\"><meta name=\"ac-discovery\" content=\"example.com {template}\">"
        ),
        format!(
            "<!doctype html><html><head><!-->< meta><meta charset=utf-8><meta name=\"ac-discovery\" content=\"example.com {template}\">"
        ),
        format!("<meta =odd name=\"ac-discovery\" name=other content=\"example.com {template}\" content=second>"),
        format!("\u{feff}<?xml version='1.0'?><meta name=\"ac-discovery\" content=\"example.com {template}\"></meta>"),
    ] {
        assert_eq!(meta_tags(tag.as_bytes()), expected, "{tag}");
    }
}

#[test]
fn nothing_is_found_where_nothing_is_announced() {
    for tag in [
        "",
        "<",
        "<meta",
        "<meta name=ac-discovery content='a b'",
        "<meta name=ac-discovery content='a b",
        "<meta name=ac-discovery>",
        "<meta name=ac-discovery content=a>",
        "<meta content='a b'>",
        "<metaname=ac-discovery content='a b'>",
        "<meta property=ac-discovery content='a b'>",
        "<!-- <meta name=ac-discovery content='a b'>",
        "<!-- --!-- <meta name=ac-discovery content='a b'>",
        "<script><meta name=ac-discovery content='a b'>",
        "&lt;meta name=ac-discovery content='a b'>",
        "<head></head><meta name=ac-discovery content='a b'>",
        "<body onload=x><meta name=ac-discovery content='a b'>",
    ] {
        assert_eq!(meta_tags(tag.as_bytes()), [], "{tag}");
    }
}

#[test]
fn several_tags_keep_their_order() {
    let page = br#"<html><head>
        <meta name="ac-discovery" content="example.com/app https://one.example.com/{name}.{ext}">
        <meta name="ac-discovery-pubkeys" content="example.com https://example.com/keys.gpg">
        <meta name="viewport" content="width=device-width">
        <meta name="ac-discovery" content="example.org https://other.example.com/{name}.{ext}">
        <meta name="ac-discovery" content="example.com https://two.example.com/{name}.{ext}">
        </head><body>"#;
    let tags = meta_tags(page);
    assert_eq!(tags.len(), 4);
    let found: Vec<String> = endpoints(&tags, &name("example.com/app")).into_iter().map(|e| e.image).collect();
    assert_eq!(found, ["https://one.example.com/example.com/app.aci", "https://two.example.com/example.com/app.aci"]);
    let found: Vec<&str> = keys(&tags, "example.com/app").iter().map(|tag| &tag.template[..]).collect();
    assert_eq!(found, ["https://example.com/keys.gpg"]);
    assert!(keys(&tags, "example.net").is_empty());
}

#[test]
fn templates_take_every_label() {
    let template = "https://example.com/{os}/{arch}/{channel}/{name}-{version}.{ext}";
    let tags = [images("example.com", template)];
    let asked = name("example.com/app:1.0+git,os=linux,arch=amd64,channel=beta");
    let base = "https://example.com/linux/amd64/beta/example.com/app-1.0+git.aci";
    let expected = Endpoint { image: base.to_owned(), signature: format!("{base}.asc") };
    assert_eq!(endpoints(&tags, &asked), [expected]);
    // A label the name does not have.
    assert!(endpoints(&tags, &name("example.com/app:1.0,os=linux,arch=amd64")).is_empty());
}

#[test]
fn the_version_is_latest_unless_named() {
    let template = "https://example.com/{version}";
    assert_eq!(addresses(template, "example.com/app"), ["https://example.com/latest"]);
    assert_eq!(addresses(template, "example.com/app:"), ["https://example.com/latest"]);
    assert_eq!(addresses(template, "example.com/app:2"), ["https://example.com/2"]);
}

#[test]
fn without_an_extension_the_signature_lies_beside_the_image() {
    let tags = [images("example.com", "https://example.com/app.aci")];
    let found = endpoints(&tags, &name("example.com/app"));
    let expected =
        Endpoint { image: "https://example.com/app.aci".into(), signature: "https://example.com/app.aci.asc".into() };
    assert_eq!(found, [expected]);
}

#[test]
fn values_are_neither_variables_nor_the_end_of_a_path() {
    let template = "https://example.com/{x}/{ext}";
    assert_eq!(addresses(template, "example.com/app,x={ext}"), ["https://example.com/%7Bext%7D/aci"]);
    assert_eq!(addresses(template, "example.com/app,x=a b?c#d%é"), ["https://example.com/a%20b%3Fc%23d%25%C3%A9/aci"]);
    assert_eq!(addresses(template, "example.com/app,x=a/b"), ["https://example.com/a/b/aci"]);
}

#[test]
fn only_web_addresses_are_endpoints() {
    for template in
        ["file:///etc/passwd", "ftp://example.com/a", "https://", "https:///a", "a", "https://a b", "{", "{}"]
    {
        assert!(addresses(template, "example.com/app").is_empty(), "{template}");
    }
    let tags = [MetaTag { kind: Kind::Keys, prefix: "example.com".into(), template: "file:///etc/passwd".into() }];
    assert!(keys(&tags, "example.com/app").is_empty());
}

#[test]
fn a_name_is_looked_for_on_this_host_unless_it_says_otherwise() {
    let filled = for_this_host(&name("example.com/app:1"));
    assert_eq!(filled.to_string(), format!("example.com/app:1,os=linux,arch={}", host_arch()));
    let other = name("example.com/app,os=freebsd,arch=arm");
    assert_eq!(for_this_host(&other), other);
}

#[test]
fn long_pages_are_read_in_bounded_time() {
    let started = std::time::Instant::now();
    for piece in
        ["<", "<!--", "<meta ", "<a b=", "<a '", "&", "</", "<script>", "<meta name=a ", "--", "=", "<title></"]
    {
        meta_tags(piece.repeat(1_000_000 / piece.len()).as_bytes());
    }
    let many = "<meta name=ac-discovery content='a b'>".repeat(10 * MAX_TAGS);
    assert_eq!(meta_tags(many.as_bytes()).len(), MAX_TAGS);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn no_page_is_too_strange(page in "([<>/!='\"& -]|meta|name|content|ac-discovery|script|--|head|[a-z]|é){0,60}") {
        meta_tags(page.as_bytes());
    }

    #[test]
    fn quoted_tags_are_read_back(prefix in "[a-z.]{1,9}", path in "[a-zA-Z0-9{}/?&;#<>'\"]{1,20}") {
        let escaped: String = path.chars().map(|c| format!("&#{};", u32::from(c))).collect();
        let page = format!("<html><head><meta content='{prefix} https://{escaped}' name=\"ac-discovery\"></head>");
        prop_assert_eq!(meta_tags(page.as_bytes()), [images(&prefix, &format!("https://{path}"))]);
    }
}
