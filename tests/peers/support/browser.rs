//! Chromium, driven by chromedriver (W3C WebDriver, and the DevTools commands that it passes on).

use super::{Process, folder, free_port, program};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a page may take to become what is expected; a machine that is busy with other tests is slow, not broken.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks at a page that is waited for.
const GLANCE: Duration = Duration::from_millis(100);

/// A browser with one window.
pub struct Browser {
    session: String,
    client: reqwest::Client,
    _driver: Process,
    _folder: TempDir,
}

/// How a page is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looks {
    /// Pixels from left to right.
    pub width: u32,
    pub dark: bool,
    pub script: bool,
}

impl Browser {
    pub async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default(); // what reqwest wants of whoever uses it
        let folder = folder("browser");
        let port = free_port();
        let driver =
            Process::spawn("chromedriver", &program("chromedriver").unwrap(), &[&format!("--port={port}")], &folder.path().join("log")).wait_for_port(port);
        let client = reqwest::Client::builder().timeout(Duration::from_mins(1)).build().unwrap();
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        // Its sandbox cannot be had by root or in a container; all it is shown is our own.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars", "--no-first-run", profile.as_str()];
        let capabilities = json!({ "browserName": "chrome", "goog:loggingPrefs": { "browser": "ALL" }, "goog:chromeOptions": { "args": arguments } });
        let root = format!("http://127.0.0.1:{port}/session");
        let begun = client.post(&root).json(&json!({ "capabilities": { "alwaysMatch": capabilities } })).send().await.unwrap().json::<Value>().await.unwrap();
        let id = begun["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {begun}"));
        Self { session: format!("{root}/{id}"), client, _driver: driver, _folder: folder }
    }

    /// How pages look from now on.
    pub async fn look(&self, looks: Looks) {
        let Looks { width, dark, script } = looks;
        self.devtools("Emulation.setDeviceMetricsOverride", json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 })).await;
        let scheme = if dark { "dark" } else { "light" };
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] })).await;
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": !script })).await;
    }

    pub async fn open(&self, url: &str) {
        self.command("url", json!({ "url": url })).await;
    }

    /// Waits until it is at an address: a click is answered before the page that it leads to is there.
    pub async fn arrives_at(&self, url: &str) {
        let began = Instant::now();
        loop {
            let at = self.client.get(format!("{}/url", self.session)).send().await.unwrap().json::<Value>().await.unwrap();
            if at["value"] == url {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "expected to be at {url}, and is at {at}");
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// What a script of the test's own gives.
    pub async fn run(&self, script: &str) -> Value {
        self.command("execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Waits until such a script gives true.
    pub async fn until(&self, script: &str) {
        let began = Instant::now();
        while self.run(script).await != json!(true) {
            assert!(began.elapsed() < PATIENCE, "never true: {script}\n{}", self.text().await);
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Waits until a person reads all of this.
    pub async fn reads(&self, expected: &[&str]) {
        let began = Instant::now();
        loop {
            let text = self.text().await;
            let Some(absent) = expected.iter().find(|expected| !text.contains(**expected)) else {
                return;
            };
            assert!(began.elapsed() < PATIENCE, "nobody ever read \"{absent}\" here:\n{text}");
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// What a person reads.
    pub async fn text(&self) -> String {
        let text = self.on("body", async |body| self.asked(self.client.get(format!("{}/element/{body}/text", self.session))).await).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    pub async fn write(&self, selector: &str, text: &str) {
        self.on(selector, async |field| {
            let cleared = self.told(&format!("element/{field}/clear"), json!({})).await;
            if is_stale(&cleared) { cleared } else { self.told(&format!("element/{field}/value"), json!({ "text": text })).await }
        })
        .await;
    }

    pub async fn click(&self, selector: &str) {
        self.on(selector, async |element| self.told(&format!("element/{element}/click"), json!({})).await).await;
    }

    /// What the console said since it was asked last.
    pub async fn console(&self) -> Vec<String> {
        let said = self.command("se/log", json!({ "type": "browser" })).await;
        said.as_array().unwrap().iter().map(|line| format!("{}: {}", line["level"], line["message"])).collect()
    }

    /// A picture of the whole page.
    pub async fn picture(&self, file: &Path) -> PathBuf {
        let shot = self.devtools("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "format": "png" })).await;
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()).unwrap();
        file.to_owned()
    }

    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command("goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    /// Does something with the first element that a selector finds, once it is there: and again with its successor where the page was
    /// replaced between finding and doing, which WebDriver calls a stale reference; nothing was done then.
    async fn on(&self, selector: &str, act: impl AsyncFn(&str) -> Value) -> Value {
        let began = Instant::now();
        loop {
            let found = self.told("element", json!({ "using": "css selector", "value": selector })).await;
            let element = found.as_object().filter(|_| found["error"].is_null()).and_then(|found| found.values().next()).and_then(Value::as_str);
            let said = match element {
                Some(element) => act(element).await,
                None => found,
            };
            if said["error"].is_null() {
                return said;
            }
            let passes = is_stale(&said) || said["error"] == "no such element";
            assert!(passes && began.elapsed() < PATIENCE, "{selector}: {said}");
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn command(&self, path: &str, body: Value) -> Value {
        let said = self.told(path, body.clone()).await;
        assert!(said["error"].is_null(), "{path} {body}: {said}");
        said
    }

    async fn told(&self, path: &str, body: Value) -> Value {
        self.asked(self.client.post(format!("{}/{path}", self.session)).json(&body)).await
    }

    async fn asked(&self, request: reqwest::RequestBuilder) -> Value {
        let mut answer = request.send().await.unwrap().json::<Value>().await.unwrap();
        answer["value"].take()
    }

    /// Ends it, so that no process of it stays.
    pub async fn end(self) {
        let _ = self.client.delete(&self.session).send().await;
    }
}

fn is_stale(said: &Value) -> bool {
    said["error"] == "stale element reference"
}
