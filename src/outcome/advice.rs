//! What to do about each cause of a row that is not as requested.

use crate::model::Outcome;

/// Advice for our own codes: the code, or its beginning where it ends with `*`; the first match counts.
///
/// One or two sentences for somebody who has never seen the tool: what it means, then what to do.
const OWN: &[(&str, &str)] = &[
    (
        "DOUBT_NEAR_NAME",
        "Nobody of this name was bound, but somebody of a similar name is. Check the spelling; correct the row and run the list again if that person is meant.",
    ),
    (
        "DOUBT_OTHER_DOMAIN",
        "The person of this name is bound in another domain. Check the domain; correct or empty it and run the list again if that person is meant.",
    ),
    (
        "DOUBT_TRIMMED_CELL",
        "Nobody of this name was bound, and something was taken off its cell. Check what the cell should hold.",
    ),
    (
        "DOUBT_UNUSUAL_NAME",
        "Nobody of this name was bound, and it holds characters that names seldom do. Check the spelling.",
    ),
    (
        "DOUBT_UNKNOWN_USER",
        "The service does not know this user. Check the spelling, the region and the project. If all are right, the account was deleted before.",
    ),
    (
        "DOUBT_NAMESAKE_GONE",
        "Two people of this name were bound to the desktop, and none is now. Look at it in the console; attach the one who should stay again.",
    ),
    (
        "DOUBT_NAMESAKE_UNREAD",
        "Two people of this name were bound to the desktop, and nobody looked who still is (--verify off). Look at it in the console.",
    ),
    (
        "INVALID_USER_MISSING",
        "Write the user's name in the cell user_name. To detach everybody from a desktop, set type to ALL and use --allow-detach-all.",
    ),
    (
        "INVALID_USER_UNKNOWN",
        "Correct the name, or take the row out. If the names are right, is it the right region, project and account? A list \
         that keeps people who were deleted: --unknown-users gone.",
    ),
    ("INVALID_DATE*", "Write the day as 2026-11-30, or say with --date-format how days are written."),
    (
        "INVALID_DUE_TWICE",
        "The list has the same binding with two days, and one of them is still to come. Find out which one is right, and take the other row out.",
    ),
    (
        "DOUBT_SHORTER_LIST",
        "The list is at most half as long as the last one. Check that it is complete: no filter, no export that stopped early.",
    ),
    ("INVALID_TYPE", "The cell type must be USER, GROUP or ALL, or empty (then it is USER). Correct it."),
    (
        "INVALID_ALL_WITH_USER",
        "A row of type ALL detaches everybody, so its user_name must be empty. Empty it, or set type to USER.",
    ),
    (
        "INVALID_ALL_NOT_ALLOWED",
        "Rows of type ALL detach everybody from a desktop. If you want this, run with --allow-detach-all.",
    ),
    (
        "INVALID_PROTECTED",
        "The setting `protect` names this user, group or desktop. If the row is right, somebody must first change that setting.",
    ),
    (
        "INVALID_DESKTOP_NOT_FOUND",
        "The project has no such desktop. Check the id or name, the project and the region. If the desktop was deleted, delete the row or use --on-invalid skip.",
    ),
    (
        "INVALID_DESKTOP_UNREADABLE",
        "The service does not tell who is bound to the desktop. Look at it in the console, then run again, or use --on-invalid skip.",
    ),
    ("INVALID_DESKTOP_MISSING", "Write the desktop's id or name in the row."),
    ("INVALID_DESKTOP_AMBIGUOUS", "Two desktops have this name. Write the id of the right one in the cell desktop_id."),
    (
        "INVALID_DESKTOP_MISMATCH",
        "The id and the name in the row are of two desktops. Find out which is right, and empty the other cell.",
    ),
    (
        "INVALID_AMBIGUOUS_USER",
        "Two people on this desktop have this name. Write the right one's domain or user_id in the row.",
    ),
    (
        "INVALID_ID_MISMATCH",
        "The name and the user_id in the row are not of one person: a user was renamed, or a column was sorted alone. Check the rows around it too.",
    ),
    (
        "INVALID_NEEDS_PREFLIGHT",
        "Such a row can be resolved only by reading the live bindings. Run with --preflight on.",
    ),
    (
        "INVALID_DAMAGED*",
        "A spreadsheet has changed this cell (1.9E+18, #N/A). Set the column's format to text and copy the ids again from the source.",
    ),
    (
        "INVALID_TOO_LONG",
        "The cell is longer than the service allows. Look for two columns that became one, or a missing quote.",
    ),
    (
        "INVALID_CONTROL_CHARACTER",
        "The cell has a line break or a control character in it. Look for a missing quote in the lines before, or type the cell again.",
    ),
    (
        "INVALID_RAGGED",
        "The row has more cells than the header. Look for a delimiter inside a cell that is not quoted.",
    ),
    (
        "INVALID_TAKEN",
        "Somebody else holds the desktop now, and only one person can have it. Decide who gets it: detach the other one first, or leave this row out.",
    ),
    (
        "INVALID_NOTHING_KNOWN",
        "The run did not look at the bindings before it (--preflight off), so its undo knows too little. Attach these users in the console.",
    ),
    (
        "INVALID_UNSETTLED",
        "The service did not tell in time what became of these rows. Undo again later, or look at the desktops in the console.",
    ),
    ("INVALID_*", "Correct these rows in the input, then run again."),
    (
        "STILL_BOUND",
        "The service took the request, but the user is still bound. Look at the desktop in the console: a task may hang, or somebody assigned it again. Then run these rows again.",
    ),
    (
        "NOT_BOUND",
        "The service took the request, but the user is not bound. Look at the desktop in the console: a task may hang, or somebody else was assigned. Then undo again.",
    ),
    (
        "IN_USE",
        "Somebody is connected to the desktop, and --in-use skip leaves it alone. Run these rows again later, or with --in-use detach.",
    ),
    (
        "HTTP_400",
        "The service did not accept the request for this row. Check its cells; if they are right, give the request_id of the results file to the support of Huawei Cloud.",
    ),
    (
        "HTTP_403",
        "The credentials may not do this. Ask for the permission workspace:desktops:batchDetach (for an undo: workspace:desktops:batchAttachUsers) on this desktop.",
    ),
    ("HTTP_404", "The service does not know the desktop or the user. Check the row, the project and the region."),
    ("HTTP_409", "Another task was running on the desktop. Wait until it has ended, then run these rows again."),
    (
        "HTTP_413",
        "Even one desktop was too large for the gateway. Use a smaller --max-users-per-request, then run these rows again.",
    ),
    (
        "HTTP_4*",
        "The service refused the request. The results file has its request_id for the support of Huawei Cloud.",
    ),
    ("HTTP_5*", "The service had a fault of its own. Run these rows again later."),
];

/// What to do about rows of this outcome and code, in one or two sentences.
///
/// * `message`: what the service said of all of them; empty where it said different things.
/// * `api`: advice for the API's codes and messages; it is asked for codes that are not our own.
pub(crate) fn advice(
    outcome: Outcome,
    code: &str,
    message: &str,
    api: &dyn Fn(&str, &str) -> Option<String>,
) -> Option<String> {
    let own = OWN.iter().find(|(pattern, _)| match pattern.strip_suffix('*') {
        Some(start) => code.starts_with(start),
        None => code == *pattern,
    });
    if let Some((_, advice)) = own {
        return Some((*advice).to_owned());
    }
    let by_outcome = match outcome {
        Outcome::Unknown => {
            "Nobody knows yet whether these rows were executed. Run again: it first asks the service, and sends only what is still to do."
        }
        Outcome::NotSent => "The run stopped before their turn. Run again to go on.",
        Outcome::Failed => {
            "Look the code up in the documentation of Huawei Cloud Workspace. When the cause is gone, run these rows again."
        }
        Outcome::Invalid => "Correct these rows in the input, then run again.",
        Outcome::Detached
        | Outcome::AlreadyDetached
        | Outcome::Attached
        | Outcome::AlreadyAttached
        | Outcome::NotDue
        | Outcome::Planned => return None,
    };
    // What an API code says of a doubt is only its cause: asking again comes first.
    let api = if outcome == Outcome::Failed && !code.is_empty() { api(code, message) } else { None };
    Some(api.unwrap_or_else(|| by_outcome.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str, _: &str) -> Option<String> {
        None
    }

    #[test]
    fn every_pattern_of_the_table_can_be_reached() {
        for (pattern, text) in OWN {
            let code = pattern.replace('*', "99");
            assert_eq!(advice(Outcome::Failed, &code, "", &nothing).as_deref(), Some(*text), "{pattern}");
        }
    }

    #[test]
    fn codes_of_the_api_ask_who_knows_them() {
        let api = |code: &str, _: &str| (code == "WKS.00010032").then(|| "wake it up".to_owned());
        assert_eq!(advice(Outcome::Failed, "WKS.00010032", "", &api).as_deref(), Some("wake it up"));
        assert!(advice(Outcome::Failed, "WKS.9", "", &api).is_some_and(|text| text.contains("documentation")));
    }

    #[test]
    fn a_doubt_is_asked_again_whatever_its_cause() {
        let api = |_: &str, _: &str| Some("resend".to_owned());
        assert!(advice(Outcome::Unknown, "WKS.1", "", &api).is_some_and(|text| text.contains("asks the service")));
    }

    #[test]
    fn successes_need_no_advice() {
        assert_eq!(advice(Outcome::Detached, "", "", &nothing), None);
    }
}
