//! The value types: what each accepts, what it refuses, and how it prints.

use appc_spec::{
    AcIdentifier, AcName, Error, ImageId, ImageIdPrefix, ImageName, MountPoint, Port, Quantity, Volume, check_os_arch,
    host_arch,
};

fn error<T: std::str::FromStr<Err = Error>>(text: &str) -> String {
    match text.parse::<T>() {
        Ok(_) => panic!("must be refused: {text:?}"),
        Err(e) => e.to_string(),
    }
}

/// Parses and prints.
fn printed<T: std::str::FromStr<Err = Error> + std::fmt::Display>(text: &str) -> String {
    match text.parse::<T>() {
        Ok(value) => value.to_string(),
        Err(e) => panic!("must be accepted: {text:?}: {e}"),
    }
}

#[test]
fn identifiers() {
    // The last three are what the Go tools took, against the pattern of the specification.
    for good in
        ["database", "example.com/~user/app_v1", "sub-domain.example.com/a/b", "1", "a--b//c", "a._~-b", "a/../b"]
    {
        assert_eq!(printed::<AcIdentifier>(good), good);
    }
    assert_eq!(error::<AcIdentifier>(""), "ACIdentifier cannot be empty");
    for bad in ["A", "a b", "a:b", "a,b", "é", "a\nb"] {
        let rule = "ACIdentifier must contain only lower case alphanumeric characters plus \"-._~/\", found ";
        assert_eq!(error::<AcIdentifier>(bad), format!("{rule}{bad:?}"));
    }
    for bad in ["/a", "a/", "-", ".a", "a~", "a_"] {
        let rule = "ACIdentifier must start and end with only lower case alphanumeric characters, found ";
        assert_eq!(error::<AcIdentifier>(bad), format!("{rule}{bad:?}"));
    }
    for good in ["database", "product-database-1", "a--b"] {
        assert_eq!(printed::<AcName>(good), good);
    }
    assert_eq!(error::<AcName>(""), "ACName cannot be empty");
    let rule = "ACName must contain only lower case alphanumeric characters plus \"-\", found \"a.b\"";
    assert_eq!(error::<AcName>("a.b"), rule);
    let rule = "ACName must start and end with only lower case alphanumeric characters, found \"-a\"";
    assert_eq!(error::<AcName>("-a"), rule);
}

#[test]
fn sanitized() {
    for (text, name) in
        [("foo_bar", "foo-bar"), ("Foo.Bar ", "foo-bar"), ("volume/var/tmp", "volume-var-tmp"), ("--a--", "a")]
    {
        assert_eq!(AcName::sanitize(text).expect("has valid characters").as_str(), name);
    }
    for (text, name) in [("Foo Bar", "foo_bar"), ("/a:b/", "a_b"), ("quay.io/x", "quay.io/x"), ("_~a", "a")] {
        assert_eq!(AcIdentifier::sanitize(text).expect("has valid characters").as_str(), name);
    }
    for nothing in ["", "-", "€", "---", "!!"] {
        assert!(AcName::sanitize(nothing).is_err() && AcIdentifier::sanitize(nothing).is_err());
    }
}

#[test]
fn image_ids() {
    let hex = "0123456789abcdef".repeat(8);
    let id: ImageId = format!("sha512-{}", hex.to_uppercase()).parse().expect("a whole ID");
    assert_eq!((id.hex(), id.to_string()), (&hex[..], format!("sha512-{hex}")));
    assert_eq!(id.short(), "sha512-0123456789ab");
    assert_eq!(ImageId::from_digest([0xab; 64]).hex(), "ab".repeat(64));

    for short in ["sha512-01", "sha512-012", "sha512-0123456789AB"] {
        assert!(short.parse::<ImageIdPrefix>().expect("a short ID").matches(&id), "{short}");
    }
    assert!(ImageIdPrefix::from(id.clone()).matches(&id));
    assert!(!"sha512-02".parse::<ImageIdPrefix>().expect("a short ID").matches(&id));

    let formatted = "badly formatted hash string, expected \"sha512-\" and hexadecimal digits";
    for (bad, rule) in [
        ("", formatted),
        ("deadbeef", formatted),
        ("sha512-aa-bb", formatted),
        ("-aa", "unexpected empty hash type"),
        ("sha512-", "unexpected empty hash value"),
        ("sha256-aa", "unrecognized hash type: sha256 (must be sha512)"),
        ("sha512-zz", "image ID must be hexadecimal digits after \"sha512-\", found \"zz\""),
    ] {
        assert_eq!(error::<ImageId>(bad), rule);
        assert_eq!(error::<ImageIdPrefix>(bad), rule);
    }
    assert_eq!(error::<ImageId>("sha512-aa"), "image ID must have 128 hexadecimal digits, found 2");
    let rule = "short image ID must have 2 to 128 hexadecimal digits, found ";
    assert_eq!(error::<ImageIdPrefix>("sha512-a"), format!("{rule}1"));
    assert_eq!(error::<ImageIdPrefix>(&format!("sha512-{hex}0")), format!("{rule}129"));
}

#[test]
fn image_names() {
    for same in [
        "example.com/app",
        "example.com/app:1.0.0",
        "example.com/app:1.0.0,os=linux,arch=amd64",
        "example.com/app,channel=beta,version=2",
        "a:",
        "a,b=",
        "a,b=c=d",
        "a:v1+v2,l=x&y%20",
        "localhost:5000/app",
    ] {
        assert_eq!(printed::<ImageName>(same), same);
    }
    assert_eq!(printed::<ImageName>("a,version=1,os=linux"), "a:1,os=linux");
    let name: ImageName = "a:1,os=linux".parse().expect("an image name");
    assert_eq!((name.labels.get("version"), name.labels.get("os")), (Some("1"), Some("linux")));

    for (bad, rule) in [
        ("", "ACIdentifier cannot be empty"),
        (":1", "ACIdentifier cannot be empty"),
        ("a,b", "malformed string \"a,b\" - has a label without a value: b"),
        ("a,", "malformed string \"a,\" - has a label without a value: "),
        ("a:1:2", "malformed app string - colon may appear at most once: \"a:1:2\""),
        ("a,b=c:d", "malformed app string - colon may appear only right after the app name: \"a,b=c:d\""),
        ("a:1,version=2", "label version with multiple values [\"1\" \"2\"]"),
        ("a,b=1,b=1", "label b with multiple values [\"1\" \"1\"]"),
        ("a,name=b", "invalid label name: \"name\""),
        (
            "a,os=linux,arch=pdp11",
            "bad arch \"pdp11\" for linux (must be one of: [amd64 i386 aarch64 aarch64_be armv6l armv7l armv7b ppc64 ppc64le s390x])",
        ),
        ("a,=b", "ACIdentifier cannot be empty"),
        (
            "docker://alpine:3",
            "\"docker://alpine:3\" is a URL, not an image name; a docker image has no App Container name: convert it first, then use the name it was given",
        ),
        (
            "https://example.com/app.aci",
            "\"https://example.com/app.aci\" is a URL, not an image name; leave the scheme out and name the image like example.com/app:1.0.0",
        ),
    ] {
        assert_eq!(error::<ImageName>(bad), rule, "{bad}");
    }
    assert!(error::<ImageName>("Example.com/App").starts_with("ACIdentifier must contain only"));
}

#[test]
fn volumes_as_typed() {
    for same in [
        "database,kind=host,source=/tmp",
        "database,kind=host,source=/tmp,readOnly=true,recursive=false",
        "database,kind=host,source=/a=b",
        "scratch,kind=empty",
        "scratch,kind=empty,readOnly=false,mode=01777,uid=1000,gid=100",
    ] {
        assert_eq!(printed::<Volume>(same), same);
    }
    assert_eq!(printed::<Volume>("v,source=/tmp,kind=host,readOnly=T"), "v,kind=host,source=/tmp,readOnly=true");
    assert_eq!(printed::<Volume>("v,kind=empty,mode=755,uid=0"), "v,kind=empty");
    for (bad, rule) in [
        ("", "ACName cannot be empty"),
        ("v", "kind: unrecognized volume kind: should be one of \"empty\", \"host\""),
        ("v,kind", "malformed string \"v,kind\" - has a label without a value: kind"),
        ("v,kind=empty,size=1", "unknown volume parameter \"size\""),
        ("v,kind=empty,kind=host", "label kind with multiple values in \"v,kind=empty,kind=host\""),
        ("v,kind=empty,name=w", "label name with multiple values in \"v,kind=empty,name=w\""),
        ("v,kind=host", "source: source for host volume cannot be empty"),
        ("v,kind=host,source=tmp", "source: source for host volume must be absolute path, found \"tmp\""),
        ("v,kind=host,source=/tmp,uid=0", "uid: uid for host volume cannot be set"),
        ("v,kind=host,source=/tmp,readOnly=maybe", "readOnly must be true or false, got \"maybe\""),
        ("v,kind=empty,uid=+1", "uid must be a number from 0 to 4294967295, got \"+1\""),
        ("v,kind=empty,gid=4294967296", "gid must be a number from 0 to 4294967295, got \"4294967296\""),
        ("v,kind=empty,mode=rwx", "mode must be an octal number from 0000 to 7777, found \"rwx\""),
    ] {
        assert_eq!(error::<Volume>(bad), rule, "{bad}");
    }
}

#[test]
fn mount_points_as_typed() {
    for same in ["foobar,path=/tmp", "foobar,path=/tmp,readOnly=true"] {
        assert_eq!(printed::<MountPoint>(same), same);
    }
    assert_eq!(printed::<MountPoint>("foobar,path=/tmp,readOnly=0"), "foobar,path=/tmp");
    for (bad, rule) in [
        ("", "ACName cannot be empty"),
        (",path=/", "ACName cannot be empty"),
        ("foobar", "path: path must be set"),
        ("foobar,path=", "path: path must be set"),
        ("foobar,path=/tmp,asdf=asdf", "unknown mountpoint parameter \"asdf\""),
        ("foobar,path=/tmp,readOnly=", "readOnly must be true or false, got \"\""),
    ] {
        assert_eq!(error::<MountPoint>(bad), rule, "{bad}");
    }
}

#[test]
fn ports_as_typed() {
    for same in [
        "www,protocol=tcp,port=80",
        "query,protocol=udp,port=8080,count=10,socketActivated=true",
        "end,protocol=sctp,port=65535",
    ] {
        assert_eq!(printed::<Port>(same), same);
    }
    assert_eq!(printed::<Port>("www,port=80,protocol=tcp,count=0"), "www,protocol=tcp,port=80");
    for (bad, rule) in [
        ("www", "port: port must be in 1-65535 range"),
        ("www,port=70000", "port: port must be in 1-65535 range"),
        ("www,port=http", "port must be a number from 0 to 4294967295, got \"http\""),
        ("www,port=65535,count=2", "count: end of port range must be in 1-65535 range"),
        ("www,port=80,count=-1", "count must be a number from 0 to 65535, got \"-1\""),
        ("www,port=80,proto=tcp", "unknown port parameter \"proto\""),
    ] {
        assert_eq!(error::<Port>(bad), rule, "{bad}");
    }
}

#[test]
fn operating_systems() {
    assert_eq!(check_os_arch("linux", None), Ok(()));
    assert_eq!(check_os_arch("darwin", Some("x86_64")), Ok(()));
    assert!(check_os_arch("darwin", Some("amd64")).is_err());
    assert_eq!(check_os_arch("linux", Some(host_arch())), Ok(()));
}

/// As typed, canonical, whole value rounded up, thousandths rounded up.
const QUANTITIES: &[(&str, &str, i64, i64)] = &[
    ("0", "0", 0, 0),
    ("000", "0", 0, 0),
    ("-0", "0", 0, 0),
    ("128974848", "128974848", 128_974_848, 128_974_848_000),
    ("125952Ki", "123Mi", 128_974_848, 128_974_848_000),
    ("1024Mi", "1Gi", 1 << 30, 1000 << 30),
    ("1025Ki", "1025Ki", 1_049_600, 1_049_600_000),
    ("0.5Ki", "512", 512, 512_000),
    ("1.5Gi", "1536Mi", 1_610_612_736, 1_610_612_736_000),
    ("0.1Ki", "102400m", 103, 102_400),
    ("1.5", "1500m", 2, 1500),
    ("0.3", "300m", 1, 300),
    ("1000M", "1G", 1_000_000_000, 1_000_000_000_000),
    ("1K", "1k", 1000, 1_000_000),
    ("1k", "1k", 1000, 1_000_000),
    (" 2M ", "2M", 2_000_000, 2_000_000_000),
    ("+5", "5", 5, 5000),
    ("-1500m", "-1500m", -1, -1500),
    (".5", "500m", 1, 500),
    ("5.", "5", 5, 5000),
    ("1e3", "1e3", 1000, 1_000_000),
    ("1E3", "1e3", 1000, 1_000_000),
    ("12e-1", "1200e-3", 2, 1200),
    ("1E", "1E", 1_000_000_000_000_000_000, i64::MAX),
    ("100u", "100u", 1, 1),
    ("1n", "1n", 1, 1),
    ("0.1n", "1n", 1, 1),
    ("-0.1n", "-1n", 0, 0),
    ("1.0000000001", "1000000001n", 2, 1001),
    ("0.00000000001Ki", "11n", 1, 1),
    ("9223372036854775807", "9223372036854775807", i64::MAX, i64::MAX),
    ("9223372036854775808", "9223372036854775807", i64::MAX, i64::MAX),
    ("8Ei", "9223372036854775807", i64::MAX, i64::MAX),
    ("-9Ei", "-9223372036854775807", -i64::MAX, i64::MIN),
    ("1e2147483647", "9223372036854775807", i64::MAX, i64::MAX),
    ("0e2147483647", "0", 0, 0),
    ("1e-2147483648", "1e-9", 1, 1),
];

#[test]
fn quantities() {
    for (text, canonical, value, milli) in QUANTITIES {
        let quantity: Quantity = text.parse().unwrap_or_else(|e| panic!("must be accepted: {text:?}: {e}"));
        assert_eq!(quantity.to_string(), *canonical, "{text}");
        assert_eq!((quantity.value(), quantity.milli_value()), (*value, *milli), "{text}");
        assert_eq!(canonical.parse(), Ok(quantity), "{text}");
    }
    let long = format!("{}.{}Ki", "0".repeat(100_000), "9".repeat(100_000));
    assert_eq!(printed::<Quantity>(&long), "1Ki", "rounded up, and quickly");
}

#[test]
fn quantities_refused() {
    let shape = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$', found ";
    for bad in ["", "   ", "-", "aoeu", "1 M", "1B", "--1", "1Mi5x", "0x10", "1,5", "٣"] {
        assert_eq!(error::<Quantity>(bad), format!("{shape}{:?}", bad.trim()), "{bad}");
    }
    for bad in ["1.1.M", ".", "..", "+."] {
        assert_eq!(error::<Quantity>(bad), format!("unable to parse numeric part of quantity {bad:?}"));
    }
    for bad in ["0.1mi", "1i", "1Mi5", "1MM", "1e", "1e+", "1k3", "1+1", "1e99999999999", "3ki", "1E1E1"] {
        let found = error::<Quantity>(bad);
        let suffix = format!("unable to parse quantity's suffix in {bad:?}");
        assert!(found == suffix || found == format!("{shape}{bad:?}"), "{bad}: {found}");
    }
}

#[test]
fn quantities_compare_by_value() {
    let quantity = |text: &str| text.parse::<Quantity>().expect("a quantity");
    assert_eq!(quantity("1024Mi"), quantity("1073741824"));
    assert!(quantity("1G") < quantity("1Gi") && quantity("-1") < quantity("1n"));
    assert_eq!(Quantity::from(5), quantity("5000m"));
}
