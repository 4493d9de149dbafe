//! JSON as the Go tools wrote it, and as they read it.

use appc_spec::{App, EventHandler, EventName, ImageManifest, MountPoint, PodManifest, Port};

fn reprinted(json: &str) -> String {
    match ImageManifest::parse(json.as_bytes()) {
        Ok(manifest) => manifest.to_json(),
        Err(e) => panic!("must be accepted: {json}\n{e}"),
    }
}

#[test]
fn a_new_image_prints_as_the_original_wrote_it() {
    let mut manifest = ImageManifest::new("acbuild-unnamed".parse().expect("a name"));
    manifest.labels.set("arch".parse().expect("a name"), "amd64");
    manifest.labels.set("os".parse().expect("a name"), "linux");
    let labels = r#""labels":[{"name":"arch","value":"amd64"},{"name":"os","value":"linux"}]"#;
    let start = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"acbuild-unnamed","#;
    assert_eq!(manifest.to_json(), format!("{start}{labels}}}"));
    manifest.app = Some(App::new());
    assert_eq!(manifest.to_json(), format!(r#"{start}{labels},"app":{{"exec":null,"user":"0","group":"0"}}}}"#));
}

/// Byte for byte what `actool` makes of the specification's example.
#[test]
fn every_field_in_the_order_of_the_go_structs() {
    let go = concat!(
        r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/reduce-worker","#,
        r#""labels":[{"name":"version","value":"1.0.0"},{"name":"arch","value":"amd64"},{"name":"os","value":"linux"}],"#,
        r#""app":{"exec":["/usr/bin/reduce-worker","--quiet"],"#,
        r#""eventHandlers":[{"name":"pre-start","exec":["/usr/bin/data-downloader"]},{"name":"post-stop","exec":null}],"#,
        r#""user":"100","group":"300","supplementaryGIDs":[400,500],"workingDirectory":"/opt/work","#,
        r#""environment":[{"name":"REDUCE_WORKER_DEBUG","value":"true"}],"#,
        r#""mountPoints":[{"name":"work","path":"/var/lib/work"},{"name":"etc","path":"/etc","readOnly":true}],"#,
        r#""ports":[{"name":"health","protocol":"tcp","port":4000,"count":1,"socketActivated":true},"#,
        r#"{"name":"ftp-data","protocol":"tcp","port":20000,"count":1000,"socketActivated":false}],"#,
        r#""isolators":[{"name":"resource/cpu","value":{"request":"250m","limit":"500m"}},"#,
        r#"{"name":"os/linux/capabilities-retain-set","value":{"set":["CAP_NET_BIND_SERVICE"]}}],"#,
        r#""userAnnotations":{"a":"1","b":"2"},"userLabels":{"x":""}},"#,
        r#""annotations":[{"name":"authors","value":"Carly \u003ccarly@example.com\u003e \u0026 Co"}],"#,
        r#""dependencies":[{"imageName":"example.com/base","labels":[{"name":"env","value":"canary"}],"size":22017258}],"#,
        r#""pathWhitelist":["/etc/ca","/usr/"]}"#,
    );
    assert_eq!(reprinted(go), go);
}

#[test]
fn a_pod_keeps_its_order_and_its_empty_lists() {
    let pod = r#"{"acVersion":"0.8.11","acKind":"PodManifest","apps":[],"volumes":[],"isolators":[],"annotations":[],"ports":[]}"#;
    assert_eq!(PodManifest::new().to_json(), pod);
    let id = "0".repeat(128);
    let pod = [
        r#"{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{"name":"a","image":{"name":"x/y","id":"sha512-"#,
        &id,
        r#"","labels":[{"name":"version","value":"1"}]},"app":{"exec":["/a"],"user":"0","group":"0"},"readOnlyRootFS":true,"#,
        r#""mounts":[{"volume":"v","path":"/v","appVolume":{"name":"w","kind":"empty","mode":"0755","uid":0,"gid":0}}],"#,
        r#""annotations":[{"name":"a","value":""}]}],"#,
        r#""volumes":[{"name":"v","kind":"host","source":"/srv","readOnly":false,"recursive":true}],"#,
        r#""isolators":[{"name":"resource/memory","value":{"limit":"1G"}}],"annotations":[{"name":"ip","value":"10.1.2.3"}],"#,
        r#""ports":[{"name":"www","hostPort":80,"hostIP":"203.0.113.23","podPort":"#,
        r#"{"name":"www","protocol":"tcp","port":8080,"count":1,"socketActivated":false}}],"userAnnotations":{"k":"v"},"userLabels":{"k":"v"}}"#,
    ]
    .concat();
    assert_eq!(PodManifest::parse(pod.as_bytes()).expect("a pod").to_json(), pod);
}

#[test]
fn escapes() {
    let mut manifest = ImageManifest::new("a".parse().expect("a name"));
    let mut value = |text: &str| {
        manifest.annotations.set("x".parse().expect("a name"), text);
        let json = manifest.to_json();
        assert_eq!(ImageManifest::parse(json.as_bytes()).as_ref(), Ok(&manifest));
        json[json.find("\"value\":").expect("there is a value") + 8..].trim_end_matches("}]}").to_owned()
    };
    for (text, json) in [
        ("<a>&", r#""\u003ca\u003e\u0026""#),
        ("\u{2028}\u{2029}", r#""\u2028\u2029""#),
        ("\u{8}\u{c}\n\r\t\0\u{1f}\u{7f}", "\"\\u0008\\u000c\\n\\r\\t\\u0000\\u001f\u{7f}\""),
        ("\"\\/'", r#""\"\\/'""#),
        ("né\u{10ffff}", "\"né\u{10ffff}\""),
    ] {
        assert_eq!(value(text), json);
    }
}

#[test]
fn pretty_is_four_spaces() {
    let manifest =
        reprinted(r#"{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "a", "x": [], "y": [{}, {"z": 1}]}"#);
    let manifest = ImageManifest::parse(manifest.as_bytes()).expect("a manifest");
    let pretty = [
        "{",
        "    \"acKind\": \"ImageManifest\",",
        "    \"acVersion\": \"0.8.11\",",
        "    \"name\": \"a\",",
        "    \"x\": [],",
        "    \"y\": [",
        "        {},",
        "        {",
        "            \"z\": 1",
        "        }",
        "    ]",
        "}",
    ];
    assert_eq!(manifest.to_json_pretty(), pretty.join("\n"));
}

#[test]
fn any_case_and_the_last_one_wins() {
    let name = |fields: &str| {
        let json = format!(r#"{{"ackind": "ImageManifest", "ACVERSION": "0.8.11", {fields}}}"#);
        ImageManifest::parse(json.as_bytes()).expect("a manifest").name.to_string()
    };
    assert_eq!(name(r#""NAME": "a""#), "a");
    assert_eq!(name(r#""name": "a", "Name": "b""#), "b");
    assert_eq!(name(r#""Name": "b", "name": "a", "NaMe": "c""#), "c");
    assert_eq!(name(r#""name": "a", "Name": "b", "name": "c""#), "c");
    assert_eq!(name(r#""name": "NOT VALID", "name": "a""#), "a");
}

#[test]
fn null_is_absent() {
    let nulls = concat!(
        r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a","labels":null,"app":{"exec":null,"user":"0","group":"0","#,
        r#""eventHandlers":null,"supplementaryGIDs":null,"workingDirectory":null,"environment":null,"mountPoints":null,"ports":null,"#,
        r#""isolators":null,"userAnnotations":null,"userLabels":null},"annotations":null,"dependencies":null,"pathWhitelist":null}"#
    );
    let printed =
        r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a","app":{"exec":null,"user":"0","group":"0"}}"#;
    assert_eq!(reprinted(nulls), printed);
    assert_eq!(reprinted(&printed.replace("\"0\"}", "\"0\",\"workingDirectory\":\"\"}")), printed);
}

#[test]
fn unknown_fields_stay_at_every_level() {
    let x = r#""x-new":{"b":[1,-2,2.5,null],"a":"\u003c"}"#;
    let id = "0".repeat(128);
    let image = format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a","labels":[{{"name":"l","value":"1",{x}}}],"app":{{"exec":["/a"],"eventHandlers":[{{"name":"pre-start","exec":["/b"],{x}}}],"user":"0","group":"0","environment":[{{"name":"A","value":"1",{x}}}],"mountPoints":[{{"name":"m","path":"/m",{x}}}],"ports":[{{"name":"p","protocol":"tcp","port":1,"count":1,"socketActivated":false,{x}}}],"isolators":[{{"name":"resource/memory","value":{{"limit":"1G",{x}}},{x}}}],{x}}},"annotations":[{{"name":"n","value":"1",{x}}}],"dependencies":[{{"imageName":"d",{x}}}],{x}}}"#
    );
    assert_eq!(reprinted(&image), image);
    let pod = format!(
        r#"{{"acVersion":"0.8.11","acKind":"PodManifest","apps":[{{"name":"a","image":{{"id":"sha512-{id}",{x}}},"mounts":[{{"volume":"v","path":"/v",{x}}}],{x}}}],"volumes":[{{"name":"v","kind":"host","source":"/s",{x}}},{{"name":"w","kind":"empty","mode":"0700","uid":1,"gid":2,"recursive":true,{x}}}],"isolators":[],"annotations":[],"ports":[{{"name":"p","hostPort":1,{x}}}],{x}}}"#
    );
    assert_eq!(
        PodManifest::parse(pod.as_bytes()).expect("a pod").to_json(),
        pod.replace(&format!(r#""recursive":true,{x}"#), &format!(r#"{x},"recursive":true"#),)
    );
}

#[test]
fn numbers_keep_their_digits() {
    for number in [
        "0.1",
        "1.50",
        "1e+300",
        "1e+5",
        "1e+400",
        "5e-324",
        "18446744073709551615",
        "-9223372036854775808",
        "123456789012345678901234567890",
        "0.30000000000000004",
    ] {
        let json =
            format!(r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a","x":[{number},{{"y":{number}}}]}}"#);
        assert_eq!(reprinted(&json), json);
    }
}

#[test]
fn port_count_of_zero_is_one() {
    let mut app = App::new();
    let mut port = Port::new("www".parse().expect("a name"), "tcp", 80);
    port.count = 0;
    app.ports.push(port);
    app.mount_points.push(MountPoint::new("m".parse().expect("a name"), "/m"));
    app.event_handlers.push(EventHandler::new(EventName::PreStart, Vec::new()));
    let mut manifest = ImageManifest::new("a".parse().expect("a name"));
    manifest.app = Some(app);
    assert_eq!(manifest.validate(), Ok(()));
    assert!(manifest.to_json().contains(r#""port":80,"count":1,"socketActivated":false"#));
}

#[test]
fn hostile_documents_are_refused_or_read_quickly() {
    for open in ["[", "{\"a\":", "[{\"a\":", "{\"app\":", "{\"isolators\":["] {
        let error = ImageManifest::parse(open.repeat(1_000_000).as_bytes()).expect_err("too deep");
        assert!(error.rule.contains("recursion limit exceeded"), "{error}");
    }
    // Each spelling of a long name once, behind and before names that are not wanted.
    let mut json = String::from(r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"a""#);
    for bits in 0..1u32 << 13 {
        let cased = |(i, c): (usize, char)| if bits >> i & 1 == 1 { c.to_ascii_uppercase() } else { c };
        let name: String = "pathwhitelist".chars().enumerate().map(cased).collect();
        json.push_str(&format!(r#","{name}":["/{bits}"],"x{bits}":0"#));
    }
    json.push('}');
    let manifest = ImageManifest::parse(json.as_bytes()).expect("a manifest");
    assert_eq!(manifest.path_whitelist, ["/8191"]);
    assert_eq!(manifest.extra.len(), 1 << 13);

    let bytes = b"{\"acKind\":\"ImageManifest\",\"acVersion\":\"0.8.11\",\"name\":\"a\",\"x\":\"\xff\"}";
    assert_eq!(ImageManifest::parse(bytes).expect("a manifest").extra["x"], "\u{fffd}");
    for not_json in ["\u{feff}{}", "{'a': 1}", "{\"a\": 01}", "{\"a\": NaN}", "{\"a\": \"\n\"}", "{\"a\": 1,}", "\0"] {
        let error = ImageManifest::parse(not_json.as_bytes()).expect_err("not JSON");
        assert!(error.rule.starts_with("invalid JSON at line "), "{not_json:?}: {error}");
    }
}
