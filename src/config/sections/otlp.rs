//! `[otlp]`: where traces go.

use super::super::knob::Knob as _;
use super::super::reader::Reader;
use super::TIMEOUT;
use crate::events::otlp::{self, Sample, Settings};
use std::time::Duration;

/// `None` without an endpoint.
pub fn otlp(root: &Reader<'_>) -> Option<Settings> {
    let table = root.table("otlp");
    let endpoint = table.optional::<String>("endpoint");
    if let Some(endpoint) = endpoint.as_ref().filter(|endpoint| !is_endpoint(endpoint)) {
        table.fault("endpoint", &endpoint.written(), ENDPOINT);
    }
    let headers = table.guarded_secret("headers");
    if let Err(why) = otlp::fields(headers.as_ref()) {
        table.fault("headers", &why, "a field of HTTP a line, as in \"Authorization: Bearer …\"");
    }
    let written = table.value("sample", "parent".to_owned());
    let sample = sample(&written);
    if sample.is_none() {
        table.fault("sample", &written.written(), "\"parent\", or a share from \"0\" to \"1\"");
    }
    let settings = Settings {
        headers,
        service_name: table.value("service_name", "postseal".to_owned()),
        sample: sample.unwrap_or(Sample::Parent),
        addresses: table.one_of("recipients", &[("domain", false), ("address", true)], false),
        timeout: table.within("timeout", Duration::from_secs(10), TIMEOUT),
        queue_max: table.within("queue_max", 2048, 1..=1_000_000),
        endpoint: endpoint.clone().unwrap_or_default(),
    };
    endpoint.map(|_| settings)
}

fn sample(text: &str) -> Option<Sample> {
    if text == "parent" {
        return Some(Sample::Parent);
    }
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).map(Sample::Share)
}

fn is_endpoint(text: &str) -> bool {
    let url = reqwest::Url::parse(text);
    url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() && url.username().is_empty())
}

const ENDPOINT: &str = "a collector's URL without the path of a signal, as in \"http://127.0.0.1:4318\"";
