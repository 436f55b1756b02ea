//! Spans: what took how long in the way of a mail, and their form in OTLP/JSON
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>). Pure.

use crate::mail::TraceContext;
use serde_json::{Value, json};

/// Something that took time.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// What: a few words of a closed set.
    pub name: &'static str,
    /// Which span it is, and of which trace.
    pub context: TraceContext,
    /// The span it is part of, as [`TraceContext::span_id`] prints it; `None` for the first of a trace.
    pub parent: Option<String>,
    /// Its side of a conversation.
    pub kind: Kind,
    /// When it began, in nanoseconds since 1970.
    pub began: u64,
    /// When it ended.
    pub ended: u64,
    /// What is known of it: by OpenTelemetry's names where it has one, else `postseal.…`.
    pub attributes: Vec<Attribute>,
    /// What happened within it.
    pub happenings: Vec<Happening>,
    /// Why it did not end well.
    pub fault: Option<String>,
}

/// A name and what it is.
pub type Attribute = (&'static str, Value);

/// A moment of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Happening {
    /// What: a few words of a closed set.
    pub name: &'static str,
    /// When, in nanoseconds since 1970.
    pub at: u64,
    /// What is known of it.
    pub attributes: Vec<Attribute>,
}

/// A span's side of a conversation, by OTLP's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Within the relay.
    Internal = 1,
    /// We were asked.
    Server = 2,
    /// We ask.
    Client = 3,
}

/// The body of a request to a collector: `ExportTraceServiceRequest`.
#[must_use]
pub fn request(spans: &[Span], resource: &[Attribute]) -> Value {
    json!({
        "resourceSpans": [{
            "resource": { "attributes": attributes(resource) },
            "scopeSpans": [{
                "scope": { "name": "postseal", "version": env!("CARGO_PKG_VERSION") },
                "spans": spans.iter().map(written).collect::<Vec<_>>(),
            }],
        }],
    })
}

fn written(span: &Span) -> Value {
    let mut value = json!({
        "traceId": span.context.trace_id(),
        "spanId": span.context.span_id(),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.began.to_string(),
        "endTimeUnixNano": span.ended.max(span.began).to_string(),
        "attributes": attributes(&span.attributes),
        "events": span.happenings.iter().map(happening).collect::<Vec<_>>(),
        "status": span.fault.as_ref().map_or_else(|| json!({}), |fault| json!({ "code": STATUS_ERROR, "message": fault })),
    });
    if let Some(parent) = &span.parent {
        value["parentSpanId"] = parent.as_str().into();
    }
    if let Some(state) = span.context.state() {
        value["traceState"] = state.into();
    }
    value
}

fn happening(happening: &Happening) -> Value {
    json!({ "name": happening.name, "timeUnixNano": happening.at.to_string(), "attributes": attributes(&happening.attributes) })
}

/// Numbers of 64 bits are texts in protobuf's JSON.
fn attributes(attributes: &[Attribute]) -> Value {
    let value = |value: &Value| match value {
        Value::Bool(is) => json!({ "boolValue": is }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::String(text) => json!({ "stringValue": text }),
        other => json!({ "stringValue": other.to_string() }),
    };
    attributes.iter().filter(|(_, known)| !known.is_null()).map(|(key, known)| json!({ "key": key, "value": value(known) })).collect()
}

/// `Status.STATUS_CODE_ERROR`.
const STATUS_ERROR: u8 = 2;
