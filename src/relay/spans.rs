//! The way of a mail as spans: what ingress and delivery know becomes what a collector is told, by OpenTelemetry's names where it has one.
//!
//! ```text
//! the application's span (traceparent)
//! └─ accept              the submission, from its final dot to its reply; kept with the mail in the spool
//!    ├─ prepare          policy, normalise, readdress, seal
//!    ├─ commit           the spool
//!    └─ attempt          one lease of one mail, minutes or days later; a moment for each recipient
//! ```

use crate::clock;
use crate::deliver::Attempted;
use crate::events::otlp::Tracer;
use crate::events::span::{Attribute, Happening, Kind, Span};
use crate::mail::{Headers, Mailbox, Receipt, Refusal, Submission, Timestamp, TraceContext};
use crate::spool::How;
use serde_json::Value;
use std::fmt::Display;
use std::future::Future;

/// A submission that is followed, or not.
pub struct Following {
    tracer: Tracer,
    /// What came with the message.
    received: Option<TraceContext>,
    /// Our span, where somebody wants it.
    span: Option<(TraceContext, u64)>,
}

impl Following {
    /// Begins with a message. A trace is taken from `own` mail only: a forwarded one tells of its author's systems.
    pub fn begin(tracer: &Tracer, message: &[u8], own: bool) -> Self {
        let received = Headers::parse(message).ok().filter(|_| own).and_then(|headers| TraceContext::of(&headers));
        let span = tracer.sampled(received.as_ref()).map(|context| (context, clock::nanos()));
        Self { tracer: tracer.clone(), received, span }
    }

    /// What the mail keeps: what later spans belong to.
    pub fn context(&self) -> Option<TraceContext> {
        self.span.as_ref().map(|(context, _)| context.clone()).or_else(|| self.received.clone())
    }

    /// For a line of the log; empty where there is no trace.
    pub fn trace_id(&self) -> String {
        self.context().map(|context| context.trace_id()).unwrap_or_default()
    }

    /// Does `work` as a span of its own.
    pub async fn step<T, E: Display>(&self, name: &'static str, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let Some((within, _)) = &self.span else { return work.await };
        let began = clock::nanos();
        let done = work.await;
        self.tracer.tell(Span {
            name,
            context: within.span(Tracer::span_id()),
            parent: Some(within.span_id()),
            kind: Kind::Internal,
            began,
            ended: clock::nanos(),
            attributes: Vec::new(),
            happenings: Vec::new(),
            fault: done.as_ref().err().map(ToString::to_string),
        });
        done
    }

    /// Tells how it ended.
    pub fn end(self, submission: &Submission, accepted: &Result<Receipt, Refusal>) {
        let Some((context, began)) = self.span else { return };
        let client = &submission.client;
        let octets = submission.message.len() as u64;
        let mut attributes: Vec<Attribute> = vec![
            ("client.address", client.address.to_string().into()),
            ("network.protocol.name", "smtp".into()),
            ("postseal.identity", client.identity.as_str().into()),
            ("postseal.listener", client.listener.as_ref().into()),
            ("postseal.message.octets", octets.into()),
            ("postseal.recipients", submission.envelope.recipients.len().into()),
        ];
        attributes.extend(tls_version(client.tls.as_ref().map(|tls| tls.version)));
        match accepted {
            Ok(receipt) => attributes.push(("postseal.mail.id", receipt.id().to_string().into())),
            Err(refusal) => {
                attributes.push(("error.type", refusal.enhanced.to_string().into()));
                attributes.push(("postseal.reply.code", refusal.code.into()));
            }
        }
        self.tracer.tell(Span {
            name: "accept",
            context,
            parent: self.received.map(|received| received.span_id()),
            kind: Kind::Server,
            began,
            ended: clock::nanos(),
            attributes,
            happenings: Vec::new(),
            // The text of a refusal may name an address.
            fault: accepted.as_ref().err().map(|refusal| format!("{} {}", refusal.code, refusal.enhanced)),
        });
    }
}

/// Tells of an attempt of a mail that is followed.
pub fn attempted(tracer: &Tracer, attempt: &Attempted<'_>) {
    let mail = attempt.mail;
    let Some(parent) = mail.trace.as_ref().filter(|trace| tracer.wants(Some(trace))) else { return };
    let mut attributes: Vec<Attribute> = vec![
        ("network.protocol.name", "smtp".into()),
        ("postseal.mail.id", mail.id.to_string().into()),
        ("postseal.queue", attempt.queue.as_str().into()),
        ("postseal.author_domain", mail.signing_domain.as_str().into()),
        ("postseal.stream", mail.stream.as_str().into()),
        ("postseal.recipients", attempt.recipients.len().into()),
    ];
    // Of several endings the worst is told for all; each stands below for itself.
    let worst = attempt.recipients.iter().max_by_key(|ended| gravity(ended.how));
    let fault = worst.filter(|ended| gravity(ended.how) > 0).and_then(|ended| ended.how.evidence());
    if let Some(evidence) = worst.and_then(|ended| ended.how.evidence()) {
        if let Some(remote) = &evidence.remote {
            attributes.push(("server.address", remote.host.as_str().into()));
            attributes.push(("server.port", remote.address.port().into()));
            attributes.push(("network.peer.address", remote.address.ip().to_string().into()));
            attributes.push(("network.peer.port", remote.address.port().into()));
        }
        attributes.extend(tls_version(evidence.tls.as_ref().map(|tls| tls.version)));
    }
    attributes.extend(worst.map(|ended| ("postseal.provider", Value::from(ended.provider))));
    attributes.extend(fault.map(|evidence| ("error.type", Value::from(evidence.status.to_string()))));
    let happenings = attempt.recipients.iter().take(HAPPENINGS_MAX).map(|ended| Happening {
        name: name(ended.how),
        at: nanos(ended.how.evidence().map_or(attempt.ended_at, |evidence| evidence.at)),
        attributes: vec![
            ("postseal.recipient", shown(ended.recipient, tracer.tells_addresses()).into()),
            ("postseal.attempts", ended.attempts.into()),
            ("postseal.status", ended.how.evidence().map_or(Value::Null, |evidence| evidence.status.to_string().into())),
            ("postseal.reply.code", ended.how.evidence().and_then(|evidence| evidence.reply.as_ref()).map_or(Value::Null, |reply| reply.code.into())),
        ],
    });
    tracer.tell(Span {
        name: "attempt",
        context: parent.span(Tracer::span_id()),
        parent: Some(parent.span_id()),
        kind: Kind::Client,
        began: nanos(attempt.began_at),
        ended: nanos(attempt.ended_at),
        attributes,
        happenings: happenings.collect(),
        fault: fault.map(|evidence| format!("{} {}", name(worst.map_or(attempt.recipients[0].how, |ended| ended.how)), evidence.status)),
    });
}

const fn gravity(how: &How) -> u8 {
    match how {
        How::Released { .. } | How::Delivered(_) | How::Cancelled(_) => 0,
        How::Deferred { .. } => 1,
        How::Failed(_) | How::Kept { .. } => 2,
    }
}

const fn name(how: &How) -> &'static str {
    match how {
        How::Delivered(_) => "delivered",
        How::Deferred { .. } => "deferred",
        How::Failed(_) | How::Kept { .. } => "failed",
        How::Cancelled(_) => "cancelled",
        How::Released { .. } => "released",
    }
}

/// Who somebody is, is nobody's business but the receiver's.
fn shown(recipient: &Mailbox, whole: bool) -> String {
    if whole { recipient.to_string() } else { recipient.host.to_string() }
}

/// `TLSv1.3` as OpenTelemetry has it: `1.3`.
fn tls_version(version: Option<&str>) -> Option<Attribute> {
    version.map(|version| ("tls.protocol.version", version.trim_start_matches("TLSv").into()))
}

fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.unix_millis()).unwrap_or(0).saturating_mul(1_000_000)
}

/// Recipients of an attempt that are told one by one.
const HAPPENINGS_MAX: usize = 32;
