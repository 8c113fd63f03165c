//! What the codes of gateway, service and this program mean, and what an operator can do about each.
//!
//! Codes are matched by number: the same gateway speaks of `APIGW.0308`, `APIG.0308` and `APIC.0308`.

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Advice {
    /// The code in its usual spelling: `APIGW.0308`, `WKS.00010032`, `HTTP_404`, `STILL_BOUND`.
    pub code: &'static str,
    /// The HTTP status that it belongs to, where one number has several meanings.
    pub status: Option<u16>,
    pub meaning: &'static str,
    /// What the operator can do.
    pub action: &'static str,
}

const fn advice_of(code: &'static str, meaning: &'static str, action: &'static str) -> Advice {
    Advice { code, status: None, meaning, action }
}

const fn advice_at(code: &'static str, status: u16, meaning: &'static str, action: &'static str) -> Advice {
    Advice { code, status: Some(status), meaning, action }
}

const AGAIN: &str = "run again later; what is settled is not sent again";
const SUPPORT: &str = "run again later; if it stays, report the request id to Huawei Cloud support";
const BY_STATE: &str = "wake the desktop if it hibernates, or wait until its task has ended; then run again";
const KEYS: &str = "check the access key, secret key or token, and the source that they come from";

/// Codes of the gateway in front of the service. The numbers of one code stand together: the first without a status,
/// or with the wanted one, counts.
const GATEWAY: &[Advice] = &[
    advice_of(
        "APIGW.0101",
        "the API does not exist at this address",
        "check --region and --endpoint; a region may lack the service",
    ),
    advice_of(
        "APIGW.0103",
        "the gateway has no backend for this API",
        "check --region; if it is right, report the request id to Huawei Cloud support",
    ),
    advice_of("APIGW.0104", "the gateway is set up wrongly", SUPPORT),
    advice_of("APIGW.0105", "the gateway is set up wrongly", SUPPORT),
    advice_of(
        "APIGW.0106",
        "the gateway could not pass the request on",
        "check --endpoint; the API there may be older than this program",
    ),
    advice_at("APIGW.0201", 413, "the request is too large", "lower --max-request-bytes or --max-desktops-per-request"),
    advice_at("APIGW.0201", 414, "the request's address is too long", "run again with fewer rows at once"),
    advice_at(
        "APIGW.0201",
        494,
        "the headers of the request are too large",
        "the token is too large for the gateway: use an access key instead",
    ),
    advice_at("APIGW.0201", 502, "the service could not be reached behind the gateway", AGAIN),
    advice_at("APIGW.0201", 504, "the service did not answer the gateway in time", AGAIN),
    advice_of("APIGW.0201", "the gateway does not accept the request", "check --endpoint and the ids in the input"),
    advice_of("APIGW.0301", "the credentials were refused", KEYS),
    advice_of("APIGW.0302", "this IAM user may not use the API", "ask the administrator to allow the IAM user"),
    advice_of("APIGW.0303", "the credentials were refused", KEYS),
    advice_of("APIGW.0304", "these credentials may not use the API", "use the credentials of an IAM user"),
    advice_of("APIGW.0305", "the credentials were refused", KEYS),
    advice_of("APIGW.0306", "access to the API is denied", "ask the administrator to allow the IAM user"),
    advice_of(
        "APIGW.0307",
        "the token has ended, or belongs to another region",
        "get a new token for the project of this region",
    ),
    advice_of(
        "APIGW.0308",
        "too many requests in a minute",
        "lower --write-rate or --read-rate, or wait: nothing failed by this alone",
    ),
    advice_of("APIGW.0310", "the project can't be used", "check --project-id, and whether the project is frozen"),
    advice_of("APIGW.0311", "the credentials were refused", KEYS),
    advice_of(
        "APIGW.0401",
        "the gateway does not know this machine's address",
        "run from a machine with an address that the cloud knows",
    ),
    advice_of(
        "APIGW.0402",
        "this machine's address may not use the API",
        "run from an allowed address, or have this one allowed",
    ),
    advice_of("APIGW.0404", "the gateway may not reach the service", SUPPORT),
    advice_of("APIGW.0501", "the quota of calls is used up", "wait for the next period, or have the quota raised"),
    advice_of(
        "APIGW.0502",
        "the account is frozen, mostly for a payment that is due",
        "settle the account, then run again",
    ),
    advice_of("APIGW.0601", "a fault inside the gateway", AGAIN),
    advice_of("APIGW.0602", "the gateway could not read the request", "check --endpoint and the proxy in between"),
    advice_of("APIGW.0605", "the gateway could not find the service", AGAIN),
    advice_of("APIGW.0606", "the gateway is not ready", AGAIN),
    advice_of("APIGW.0607", "the address must be https://", "write --endpoint with https://"),
    advice_of("APIGW.0608", "a fault inside the gateway", AGAIN),
    advice_of("APIGW.0609", "the service is missing behind the gateway", SUPPORT),
    advice_of("APIGW.0610", "no instance of the service is up", AGAIN),
    advice_of("APIGW.0611", "the service is set up wrongly behind the gateway", SUPPORT),
    advice_of("APIGW.0612", "the gateway called itself", "check --endpoint"),
    advice_of("APIGW.0613", "IAM is down; nothing was executed", AGAIN),
    advice_of("APIGW.0705", "a fault inside the gateway", AGAIN),
    advice_of("APIGW.0801", "the service is not offered in this region", "check --region"),
    advice_of(
        "APIGW.0802",
        "this IAM user may not use this region",
        "check --region, or have the region allowed for the IAM user",
    ),
];

/// Codes of Workspace.
const SERVICE: &[Advice] = &[
    advice_of(
        "WKS.0001",
        "the service misses something in the request, or does not know the pool",
        "check the ids in the input",
    ),
    advice_of("WKS.0005", "the compute service behind Workspace failed", AGAIN),
    advice_of("WKS.0009", "IAM behind Workspace failed", AGAIN),
    advice_of("WKS.0202", "what the request names does not exist", "check the ids in the input"),
    advice_of("WKS.0407", "the desktop is busy with another task", "run again once the task has ended"),
    advice_of("WKS.0915", "what the request names does not exist", "check the ids in the input"),
    advice_of("WKS.00000003", "Workspace is not fully activated", "finish the activation of Workspace in the console"),
    advice_of("WKS.00010032", "the desktop's state does not allow it now", BY_STATE),
    advice_of(
        "WKS.00010099",
        "Workspace is not activated in this project and region",
        "check --region and --project-id, or activate Workspace",
    ),
    advice_of("WKS.00010109", "the desktop has no name", "name the desktop in the console, then run again"),
    advice_of(
        "WKS.00010110",
        "the desktop has no valid IP address",
        "repair the desktop's network in the console, then run again",
    ),
    advice_of(
        "WKS.00170117",
        "the tenant does not exist: Workspace is not activated",
        "check --region and --project-id, or activate Workspace",
    ),
    advice_of(
        "WKS.00170208",
        "the user group does not exist",
        "check the group's name; with the group its binding may be gone",
    ),
    advice_of(
        "WKS.00170312",
        "the user does not exist",
        "check the user's name; with the user the binding may be gone",
    ),
];

/// Answers without a code, by their status.
const STATUS: &[Advice] = &[
    advice_at("HTTP_400", 400, "the service does not accept the request", "check the ids and names in the input"),
    advice_at("HTTP_401", 401, "the credentials were refused", KEYS),
    advice_at(
        "HTTP_403",
        403,
        "the permission is missing",
        "ask the administrator for the IAM action that the message names",
    ),
    advice_at("HTTP_404", 404, "not found", "check the ids in the input, --region and --endpoint"),
    advice_at("HTTP_405", 405, "the address does not take this request", "check --endpoint"),
    advice_at(
        "HTTP_407",
        407,
        "the proxy wants a name and a password",
        "set them in HTTPS_PROXY, or go around the proxy with NO_PROXY",
    ),
    advice_at("HTTP_408", 408, "the request took too long to arrive", AGAIN),
    advice_at("HTTP_409", 409, "another task runs on the desktop", "run again once the task has ended"),
    advice_at("HTTP_413", 413, "the request is too large", "lower --max-request-bytes or --max-desktops-per-request"),
    advice_at("HTTP_414", 414, "the request's address is too long", "run again with fewer rows at once"),
    advice_at(
        "HTTP_429",
        429,
        "too many requests in a minute",
        "lower --write-rate or --read-rate, or wait: nothing failed by this alone",
    ),
    advice_at(
        "HTTP_494",
        494,
        "the headers of the request are too large",
        "the token is too large for the gateway: use an access key instead",
    ),
    advice_at("HTTP_500", 500, "a fault inside the service", AGAIN),
    advice_at("HTTP_502", 502, "the service could not be reached behind the gateway", AGAIN),
    advice_at("HTTP_503", 503, "the service is down for now", AGAIN),
    advice_at("HTTP_504", 504, "the service did not answer the gateway in time", AGAIN),
];

/// Codes of this program.
const OWN: &[Advice] = &[
    advice_of(
        "STILL_BOUND",
        "the user is still bound, whatever the API answered",
        "look at the desktop in the console, then run again",
    ),
    advice_of(
        "IN_USE",
        "somebody works on the desktop, and --in-use is skip",
        "run again when the desktop is free, or with --in-use detach",
    ),
];

/// Whether the code is one of the gateway's, so that the service never saw the request.
pub(crate) fn is_gateway(code: &str) -> bool {
    ["APIGW.", "APIG.", "APIC."].iter().any(|prefix| code.starts_with(prefix))
}

/// What `code` means; of an answer without a code (`""`), what its status means.
///
/// * `status`: the answer's HTTP status, where there was one.
pub(crate) fn advice(code: &str, status: Option<u16>) -> Option<&'static Advice> {
    let number = |code: &str| code.rsplit_once('.').map(|(_, number)| number.to_owned());
    let table = if is_gateway(code) { GATEWAY } else { SERVICE };
    let (code, by_number) = (code.trim(), number(code.trim()));
    let fits = |advice: &&Advice| advice.status.is_none() || advice.status == status;
    if by_number.is_some() {
        let known = table.iter().filter(fits).find(|advice| number(advice.code) == by_number);
        if known.is_some() {
            return known;
        }
    }
    let named = OWN.iter().chain(STATUS).find(|advice| advice.code == code);
    named.or_else(|| STATUS.iter().find(|advice| code.is_empty() && advice.status == status && status.is_some()))
}

/// [`advice`]'s action for an answer of which the message is known, too: a desktop's state says more than its code.
pub(crate) fn action_on(code: &str, message: &str) -> Option<&'static str> {
    let action = advice(code, None)?.action;
    Some(if action == BY_STATE && message.contains("[HIBERNATED]") {
        "wake the desktop, then run again"
    } else {
        action
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_is_known_of_the_api_has_its_advice() {
        let mut reader =
            csv::Reader::from_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/error-codes.csv")).unwrap();
        let mut seen = 0;
        for record in reader.records() {
            let record = record.unwrap();
            let (code, status) = (&record[0], record[1].parse().ok());
            if code.ends_with('*') || (code.starts_with('(') && code != "(none)") {
                continue; // a family, or what no public code is known for
            }
            let code = if code == "(none)" { "" } else { code };
            let found = advice(code, status).unwrap_or_else(|| panic!("{code} {status:?}"));
            assert!(found.status.is_none() || found.status == status, "{code} {status:?}: {found:?}");
            assert!(code.is_empty() || found.code == code, "{code}: {found:?}");
            seen += 1;
        }
        assert!(seen > 60, "{seen}");
    }

    #[test]
    fn a_state_that_the_answer_names_decides_what_helps() {
        let code = "WKS.00010032";
        assert_eq!(action_on(code, "status is [HIBERNATED] and deny"), Some("wake the desktop, then run again"));
        assert_eq!(action_on(code, "status is [REBOOTING] and deny"), Some(BY_STATE));
    }

    #[test]
    fn prefixes_of_the_gateway_are_one_and_those_of_the_service_another() {
        assert_eq!(advice("APIG.0308", Some(429)), advice("APIGW.0308", Some(429)));
        assert_eq!(advice("APIC.0101", None).unwrap().code, "APIGW.0101");
        assert_eq!(advice("WKS.0202", None).unwrap().code, "WKS.0202");
        assert_eq!(advice("WKS.0101", Some(404)), None);
    }

    #[test]
    fn one_number_with_several_meanings_is_told_apart_by_the_status() {
        assert!(advice("APIGW.0201", Some(413)).unwrap().meaning.contains("too large"));
        assert!(advice("APIGW.0201", Some(504)).unwrap().meaning.contains("in time"));
        assert!(advice("APIGW.0201", None).unwrap().meaning.contains("does not accept"));
    }

    #[test]
    fn answers_without_a_code_and_our_own_words_are_known() {
        assert_eq!(advice("", Some(404)), advice("HTTP_404", None));
        assert!(advice("STILL_BOUND", None).is_some());
        assert_eq!(advice("", None), None);
        assert_eq!(advice("WKS.99999999", None), None);
    }
}
