//! The dialogue that a client would have, spoken with the relay's own server side, without a socket.

use super::account::Question;
use crate::config::Config;
use crate::mail::{ForwardPath, Mailbox, Refusal, Submission, Timestamp};
use crate::policy::{self, Usage};
use crate::smtp::server::{Action, Bounds, Dialogue, Input};

/// What came of it.
pub struct Conversation {
    /// The reply to MAIL, if it was a refusal.
    pub mail: Option<String>,
    /// Each recipient, and the reply if it was a refusal.
    pub recipients: Vec<(Mailbox, Option<String>)>,
    /// What was handed over at the final dot; or the reply of DATA or of the dot that refused it.
    pub submission: Result<Submission, String>,
}

/// Speaks it: EHLO, MAIL, RCPT, DATA, message.
pub fn converse(question: &Question, config: &Config, now: Timestamp) -> Conversation {
    let mut line = Line {
        dialogue: Dialogue::new(super::dialogue_settings(&question.listener), question.peer.clone(), now),
        config,
        usage: Usage::default(),
        now,
        handed: None,
    };
    line.says("");
    line.says("EHLO client.invalid\r\n");
    let addresses_are_ascii = question.to.iter().chain(question.from.mailbox()).chain([&question.author]).all(Mailbox::is_ascii);
    let utf8 = if addresses_are_ascii { "" } else { " SMTPUTF8" };
    let size = question.size.map(|size| format!(" SIZE={size}")).unwrap_or_default();
    let mail = refused(line.says(&format!("MAIL FROM:{}{size}{utf8}\r\n", question.from)));
    if let Some(reply) = mail {
        return Conversation { mail: Some(reply.clone()), recipients: Vec::new(), submission: Err(reply) };
    }
    let mut asked = Vec::new();
    for to in &question.to {
        let reply = line.says(&format!("RCPT TO:<{to}>\r\n"));
        asked.push((to.clone(), refused(reply)));
    }
    let reply = line.says("DATA\r\n");
    if !reply.starts_with("354") {
        return Conversation { mail: None, recipients: asked, submission: Err(reply) };
    }
    let reply = line.says(&message(question, now));
    let submission = line.handed.take().ok_or(reply);
    Conversation { mail: None, recipients: asked, submission }
}

/// The smallest message with this author that a forwarder may pass on, too.
fn message(question: &Question, now: Timestamp) -> String {
    let stream = question.stream.as_ref().map(|name| format!("X-Postseal-Stream: {name}\r\n")).unwrap_or_default();
    let to: Vec<String> = question.to.iter().map(ToString::to_string).collect();
    let date = now.to_rfc5322();
    format!(
        "From: {}\r\nTo: {}\r\nDate: {date}\r\nMessage-ID: <explain@client.invalid>\r\nSubject: explain\r\n{stream}\r\n.\r\n",
        question.author,
        to.join(",\r\n ")
    )
}

fn refused(reply: String) -> Option<String> {
    (!reply.starts_with('2')).then_some(reply)
}

struct Line<'a> {
    dialogue: Dialogue,
    config: &'a Config,
    usage: Usage,
    now: Timestamp,
    handed: Option<Submission>,
}

impl Line<'_> {
    /// The last reply to what the client says, its lines joined; empty where the server owes none yet.
    fn says(&mut self, text: &str) -> String {
        let mut reply = String::new();
        if !text.is_empty() {
            self.dialogue.handle(Input::Octets(text.as_bytes()), self.now);
        }
        while let Some(action) = self.dialogue.next_action() {
            let answer = match action {
                Action::Send(said) => {
                    reply = said.to_string().trim_end().replace("\r\n", " ");
                    continue;
                }
                Action::Begin { client, from, size } => {
                    let allowed = policy::begin(&self.config.policy, &mut self.usage, &client.identity, &from, size, self.now);
                    Input::Begun(allowed.map(|allowed| Bounds { message_octets_max: allowed.size_octets_max, recipients_max: allowed.recipients_max }))
                }
                Action::Judge { client, to, taken } => Input::Judged(self.judged(&client.identity, &to, taken)),
                Action::Hand(submission) => {
                    self.handed = Some(submission);
                    continue;
                }
                Action::StartTls | Action::Authenticate { .. } | Action::Respond(_) | Action::Close => continue,
            };
            self.dialogue.handle(answer, self.now);
        }
        reply
    }

    fn judged(&self, name: &crate::mail::IdentityName, to: &ForwardPath, taken: usize) -> Result<Mailbox, Refusal> {
        policy::recipient(&self.config.policy, name, to, taken)
    }
}
