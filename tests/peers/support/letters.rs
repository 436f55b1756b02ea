//! The kinds of messages that applications and lists send, as they are submitted.

use base64::prelude::{BASE64_STANDARD, Engine};

/// A kind of message.
pub struct Letter {
    pub kind: &'static str,
    /// Its reverse-path needs `SMTPUTF8`.
    pub smtputf8: bool,
    pub octets: Vec<u8>,
}

/// Every kind an application sends.
pub fn letters() -> Vec<Letter> {
    let letter = |kind, head: &str, body: &str| Letter { kind, smtputf8: false, octets: crlf(&format!("{head}\n\n{body}")) };
    vec![
        letter(
            "plain",
            "From: App <app@example.com>\nTo: you@example.net\nSubject: plain",
            "Hello.\n\nTwo  spaces, a tab\tand blanks at the end.  \n.a line with a dot\n\n\n",
        ),
        letter("nothing but From", "From: app@example.com", "No Date, no Message-ID, no Subject, no To.\n"),
        letter("empty body", "From: app@example.com\nTo: you@example.net\nSubject: empty body", ""),
        letter("blank lines only", "From: app@example.com\nTo: you@example.net\nSubject: blank lines only", "\n\n\n"),
        letter(
            "Japanese, 8 bit, attachment",
            "From: =?UTF-8?B?5Y2X5Y+w44K344K544OG44Og?= <app@example.com>\nTo: =?UTF-8?B?5bGx55Sw5aSq6YOO?= <you@example.net>\nSubject: =?UTF-8?B?5rOo5paH56K66KqN?=\n\
             MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=_b1\"",
            &format!(
                "--=_b1\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nご注文ありがとうございます。\n商品の発送までしばらくお待ちください。\n\n\
                 --=_b1\nContent-Type: application/pdf; name=\"=?UTF-8?B?6KuL5rGC5pu4LnBkZg==?=\"\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment;\n filename*=UTF-8''%E8%AB%8B%E6%B1%82%E6%9B%B8.pdf\n\n\
                 {}\n--=_b1--\n",
                base64_lines(&(0..4000_u32).map(|n| (n * 31 % 251) as u8).collect::<Vec<_>>())
            ),
        ),
        letter(
            "multipart/alternative in multipart/mixed",
            "From: App <app@example.com>\nTo: you@example.net\nCc: other@example.net\nSubject: multipart\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=outer",
            "This is a message with several parts.\n--outer\nContent-Type: multipart/alternative; boundary=inner\n\n--inner\nContent-Type: text/plain; charset=us-ascii\n\nHello\n\
             --inner\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n<p>Grüße &amp; Küsse</p>\n--inner--\n\n--outer\nContent-Type: message/rfc822\n\n\
             From: a@example.org\nSubject: inside\n\nInside.\n--outer--\n",
        ),
        letter(
            "one-click newsletter",
            "From: News <news@example.com>\nReply-To: answers@example.com\nTo: you@example.net\nSubject: newsletter\nList-Id: <news.example.com>\nList-Unsubscribe: <https://example.com/u/1>,\n <mailto:u@example.com>\n\
             List-Unsubscribe-Post: List-Unsubscribe=One-Click\nFeedback-ID: a:b:c:sender1",
            "News.\n",
        ),
        letter(
            "long lines",
            &format!("From: App <app@example.com>\nTo: you@example.net\nSubject: {}\nX-Folded: {}", "long ".repeat(40), ["\n and folded"; 60].concat()),
            &format!("{}\n{}\n", "a line of fourteen hundred octets ".repeat(41), "x".repeat(5000)),
        ),
        letter(
            "odd white space in the header",
            "From:   App\t<app@example.com>  \nTo:you@example.net\nSUBJECT: odd\n \t white   space\nMessage-Id: <odd.1@example.com>",
            "Odd.\n",
        ),
        Letter {
            smtputf8: true, ..letter("UTF-8 in the header", "From: Bücher <app@example.com>\nTo: you@example.net\nSubject: Größe 大きい", "Grüße\n")
        },
    ]
}

/// What a mailing list gets from a stranger, before anybody signed it.
pub const POST: &str = "From: Stranger <stranger@foreign.example>\r\nTo: talk@list.example\r\nSubject: [talk] a post\r\nDate: Sun, 22 Nov 2026 01:18:45 +0000\r\n\
     Message-ID: <post.1@foreign.example>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nWhat do you think of this? Schön.\r\n";

fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn base64_lines(octets: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(octets);
    text.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>().join("\n")
}
