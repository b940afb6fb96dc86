//! A message for Slack's incoming webhooks (<https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>): a line, what somebody
//! has said, and a link. There is no button: nothing is decided in a chat.

use super::Message;
use crate::model::NoticeKind;
use serde_json::{Value, json};

/// Returns what is sent.
pub(super) fn body(message: &Message<'_>) -> String {
    let notice = message.notice;
    let line = format!("{} {}", sign(notice.kind), notice.title);
    let mut blocks = vec![plain(&line)];
    if let Some(said) = &notice.said {
        blocks.push(plain(&format!("In the words of others: “{said}”")));
    }
    let word = match notice.kind {
        NoticeKind::Asks | NoticeKind::Stuck => "See and decide it on its page",
        _ => "See it on its page",
    };
    let link = format!("<{}{}|{word}>", message.pages, escaped(&notice.page));
    blocks.push(json!({ "type": "section", "text": { "type": "mrkdwn", "text": link, "verbatim": true } }));
    // What stands where blocks cannot: in the line of a notification.
    json!({ "text": escaped(&line), "mrkdwn": false, "blocks": blocks, "unfurl_links": false, "unfurl_media": false }).to_string()
}

/// Plain text: nothing in it mentions, links or formats.
fn plain(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "plain_text", "text": text, "emoji": false } })
}

fn sign(kind: NoticeKind) -> &'static str {
    match kind {
        NoticeKind::Asks => "✋",
        NoticeKind::Decided => "🖋️",
        NoticeKind::Failed => "❌",
        NoticeKind::RolledBack => "↩️",
        NoticeKind::Stuck => "🛑",
        NoticeKind::Frozen => "❄️",
        NoticeKind::Succeeded => "✅",
        NoticeKind::Test => "🔔",
    }
}

/// Returns a text as Slack shows it where it reads markup: a mention or a link begins with `<`
/// (<https://docs.slack.dev/messaging/formatting-message-text#escaping>).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Notice, Timestamp};

    #[test]
    fn nothing_that_others_write_mentions_links_or_formats() {
        let hostile = "1.0 <!channel> <https://evil.example|approve> *x* & `y`";
        let said = Some(format!("please <!here> {hostile}"));
        let title = format!("web {hostile} waits");
        let notice = Notice { said, ..Notice::of(NoticeKind::Asks, "plan", "plan_1", title, "/plans/plan_1", Timestamp(0)) };
        let sent = body(&Message { id: "m", at: Timestamp(0), notice: &notice, pages: "http://localhost:1" });
        let sent: Value = serde_json::from_str(&sent).unwrap();
        let line = sent["text"].as_str().unwrap();
        assert!(line.contains("&lt;!channel&gt;") && line.contains(" &amp; ") && !line.contains(['<', '>']), "{line}");
        assert_eq!(sent["mrkdwn"], false);
        for block in [&sent["blocks"][0], &sent["blocks"][1]] {
            assert_eq!(block["text"]["type"], "plain_text", "{block}");
        }
        assert_eq!(sent["blocks"][2]["text"]["text"], "<http://localhost:1/plans/plan_1|See and decide it on its page>");
        assert!(!sent.to_string().contains("button") && sent["blocks"].as_array().unwrap().len() == 3);
    }
}
