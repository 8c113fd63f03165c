//! Where requests and credentials go, and where not (P20).

use batch_detach::testing::sim::{Effect, Fault, Op, Refused, Scenario, World};

use super::service::{Service, TOKEN, seat};
use super::stage::Stage;

fn stage(scenario: Scenario) -> Stage {
    let stage = Stage::new([seat("d-1", "ann")], scenario);
    stage.leavers([("d-1", "ann")]);
    stage
}

const RUN: [&str; 3] = ["run", "leavers.csv", "--yes"];

#[test]
fn p20_a_redirect_is_never_followed() {
    let elsewhere = Service::start(World::new(1), Scenario::default());
    for status in [301, 302, 303, 307, 308] {
        for op in [Op::ListDesktops, Op::BatchDetach] {
            let location = Some(format!("{}/v2/p/desktops/batch-detach", elsewhere.url()).into());
            let refused = Refused { location, ..Refused::new(status, "", "") };
            let faults = vec![Fault::new(op, Effect::Refuse(refused))];
            let stage = stage(Scenario { faults, ..Scenario::default() });
            // Nothing got through, so nothing was written: not even by the first write.
            let ended = stage.run(&RUN).expect(4);
            assert!(ended.stderr.contains("redirect") && ended.stderr.contains("127.0.0.1"), "{}", ended.stderr);
            assert_eq!(stage.service.bindings().len(), 1);
            if op == Op::BatchDetach {
                // The plan is in its journal, so that is what goes on.
                assert_eq!(ended.next(), ["run", "leavers.results.csv.journal"]);
                stage.service.app.clear_faults();
                stage.run(&["run", "leavers.results.csv.journal", "--yes"]).expect(0);
            }
        }
    }
    assert_eq!(elsewhere.received(), 0);
}

#[test]
fn p20_plain_http_goes_to_this_machine_alone() {
    let stage = stage(Scenario::default());
    for endpoint in ["http://workspace.example.com", "http://192.0.2.1", "http://0.0.0.0:80", "ftp://127.0.0.1"] {
        let ended = stage.run(&[&RUN[..], &["--endpoint", endpoint]].concat()).expect(2);
        assert!(ended.stderr.contains("endpoint"), "{}", ended.stderr);
    }
    assert_eq!(stage.service.received(), 0);
}

#[test]
fn p20_no_proxy_is_used_for_this_machine() {
    let proxy = Service::start(World::new(1), Scenario::default());
    let stage = stage(Scenario::default())
        .variable("HTTP_PROXY", &proxy.url())
        .variable("http_proxy", &proxy.url())
        .variable("HTTPS_PROXY", &proxy.url())
        .variable("ALL_PROXY", &proxy.url());
    stage.run(&RUN).expect(0);
    assert_eq!(proxy.received(), 0);
}

#[test]
fn p20_a_plain_server_on_the_tls_port_gets_no_request() {
    let stage = stage(Scenario::default());
    let endpoint = format!("https://{}", stage.service.address);
    let ended = stage.run(&[&RUN[..], &["--endpoint", &endpoint]].concat()).expect(4);
    assert!(!ended.stderr.contains(TOKEN));
    assert_eq!(stage.service.received(), 0);
}
