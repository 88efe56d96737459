//! The configuration file.

use std::path::Path;

use weir_gate::Config;
use weir_meter::LinkCost;

#[test]
fn the_example_shows_every_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/gate.toml");
    let example = Config::load(&path).unwrap();
    assert_eq!(format!("{example:?}"), format!("{:?}", Config::default()));
}

#[test]
fn values_out_of_range_are_named() {
    let cases = [
        ("[session]\nid_bits = 9", "session.id_bits"),
        ("[session]\ncheck_bytes = 3", "session.check_bytes"),
        ("[session]\nbatches = 256", "session: parameter batches is 256"),
        (
            "[session]\ntick_ms = 0",
            "session.tick_ms: 1 to 10000 milliseconds",
        ),
        (
            "[session]\ntick_ms = 10001",
            "session.tick_ms: 1 to 10000 milliseconds",
        ),
        ("[session]\ntick_ms = 4294967295", "session.tick_ms"),
        ("[session]\nshape = \"round\"", "round"),
        ("[rules]\nqueue_bytes = 99999999", "rules.queue_bytes"),
        ("[rules]\nstrike_ticks = 0", "rules.strike_ticks"),
        ("[inside]\nlocal = \"udp://10.0.0.1:1\"", "inside"),
        (
            "[outside]\nlocal = \"udp://host:1\"\npeer = \"udp://10.0.0.1:1\"",
            "outside",
        ),
        (
            "[inside]\nlocal = \"udp://10.0.0.1:1\"\npeer = \"udp://10.0.0.2:1\"\ndevice = \"eth*\"",
            "inside: device: \"eth*\"",
        ),
        (
            "[outside]\nlocal = \"udp://10.0.0.1:1\"\npeer = \"udp://10.0.0.2:1\"\ndevice = \"all\"",
            "outside: device: \"all\"",
        ),
        (
            "[outside]\nlocal = \"unix:///a\"\npeer = \"unix:///b\"\ndevice = \"eth1\"",
            "outside: device: a unix:// link",
        ),
        ("[session]\nmtu = 1473", "session.mtu"),
        ("[session]\nshape = \"constant\"", "meter.rate"),
        ("[meter]\nside_bits = 0", "meter.side_bits"),
        ("[meter]\nrepeat_percent = 5", "meter.repeat_percent"),
        ("[meter]\nwindows = [{ seconds = 1 }]", "bits"),
        ("[receipts]\nat_start_s = 3", "receipts.at_start_s"),
        ("[receipts]\nat_start_s = 3\nkey = \"k\"", "receipts.at_start_s"),
        ("colour = 1", "colour"),
    ];
    for (text, name) in cases {
        let judged = toml::from_str::<Config>(text)
            .map_err(anyhow::Error::from)
            .and_then(|config| config.check().and_then(|()| config.limits(LinkCost::UdpIpv4)));
        let error = format!("{:#}", judged.unwrap_err());
        assert!(error.contains(name), "{text}: {error}");
    }
}
