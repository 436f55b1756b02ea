//! The variables that the common images of Postfix take, mostly for a container beside an application.
//!
//! | image | what it calls things |
//! |---|---|
//! | boky/postfix | `ALLOWED_SENDER_DOMAINS`, `RELAYHOST`, `RELAYHOST_USERNAME`, `MYNETWORKS`, `POSTFIX_<setting of main.cf>` |
//! | juanluisbaptiste/postfix | `SMTP_SERVER`, `SMTP_PORT`, `SMTP_USERNAME`, `SERVER_HOSTNAME`, `SMTP_NETWORKS`, `POSTFIX_<setting>` |
//! | bytemark/smtp, namshi/smtp | `RELAY_HOST`, `RELAY_PORT`, `RELAY_USERNAME`, `RELAY_NETS`, `MAILNAME`; `SMARTHOST_ADDRESS`, `RELAY_NETWORKS` |
//! | mwader/postfix-relay | `POSTFIX_<setting>`, `OPENDKIM_DOMAINS` |
//! | shamil/postfix-relay | `SMTP_HOST`, `SMTP_LOGIN`, `ACCEPTED_NETWORKS` |
//!
//! They end in settings of `main.cf`, which [`postfix`] carries over.

use super::postfix::{self, Asked, Service, Settings};
use super::{Draft, Files};

/// What becomes of variables, given by name and value.
///
/// # Errors
/// None of them is known.
pub fn read(variables: &[(String, String)], files: &Files<'_>) -> Result<Draft, String> {
    let mut found = Found::default();
    for (name, value) in variables.iter().filter(|(_, value)| !value.is_empty()) {
        found.take(name, value);
    }
    if found.known == 0 {
        return Err("none of these variables is known; expected those of an image of Postfix, as RELAYHOST, ALLOWED_SENDER_DOMAINS or SMTP_SERVER".to_owned());
    }
    Ok(found.draft(files))
}

#[derive(Default)]
struct Found {
    /// Variables that mean something.
    known: usize,
    settings: Settings,
    relay_host: Option<String>,
    relay_port: Option<String>,
    user: Option<String>,
    has_password: bool,
    password_file: Option<String>,
    domains: Vec<String>,
    draft: Draft,
}

impl Found {
    fn take(&mut self, name: &str, value: &str) {
        self.known += 1;
        match name {
            "POSTFIX_myhostname" | "SERVER_HOSTNAME" | "MAILNAME" | "maildomain" | "HOSTNAME" | "SMTP_HOSTNAME" => self.hostname(name, value),
            "RELAYHOST" | "SMTP_SERVER" | "RELAY_HOST" | "SMARTHOST_ADDRESS" | "SMTP_HOST" => self.relay_host = Some(value.to_owned()),
            "SMTP_PORT" | "RELAY_PORT" | "SMARTHOST_PORT" => self.relay_port = Some(value.to_owned()),
            "RELAYHOST_USERNAME" | "SMTP_USERNAME" | "RELAY_USERNAME" | "SMARTHOST_USER" | "SMTP_LOGIN" => self.user = Some(value.to_owned()),
            "RELAYHOST_PASSWORD" | "SMTP_PASSWORD" | "RELAY_PASSWORD" | "SMARTHOST_PASSWORD" => self.has_password = true,
            "RELAYHOST_PASSWORD_FILE" | "SMTP_PASSWORD_FILE" => self.password_file = Some(value.to_owned()),
            "MYNETWORKS" | "SMTP_NETWORKS" | "RELAY_NETS" | "RELAY_NETWORKS" | "ACCEPTED_NETWORKS" | "NETWORKS" => self.networks(value),
            "ALLOWED_SENDER_DOMAINS" | "OPENDKIM_DOMAINS" | "DKIM_DOMAINS" => {
                let words = value.split(|c: char| c.is_ascii_whitespace() || c == ',' || c == ';').filter(|word| !word.is_empty());
                // mwader/postfix-relay: DOMAIN=SELECTOR.
                self.domains.extend(words.map(|word| word.split('=').next().unwrap_or(word).to_owned()));
            }
            "DOMAIN" => self.domains.push(value.to_owned()),
            "MESSAGE_SIZE_LIMIT" => self.settings.set("message_size_limit", value),
            "DKIM_AUTOGENERATE" | "DKIM_SELECTOR" | "DKIM_BACKEND" => {
                self.draft
                    .ask("keys: `postseal key import DOMAIN SELECTOR FILE` takes the image's (boky/postfix: /etc/opendkim/keys/DOMAIN.private, selector mail)");
            }
            "SMTPD_SASL_USERS" | "smtp_user" => {
                self.draft.leave(format!("{name}: make each user a table [users.NAME] with what `postseal user hash` prints"));
            }
            "MASQUERADED_DOMAINS"
            | "OVERWRITE_FROM"
            | "SMTP_HEADER_CHECKS"
            | "SMTP_HEADER_TAG"
            | "ANONYMIZE_EMAILS"
            | "ALWAYS_ADD_MISSING_HEADERS"
            | "RECIPIENT_RESTRICTIONS"
            | "DESTINATION" => self.draft.leave(format!("{name}: {}", why_left(name))),
            "RELAYHOST_TLS_LEVEL" => self.settings.set("smtp_tls_security_level", value),
            "LOG_FORMAT" | "TZ" | "INBOUND_DEBUGGING" | "DEBUG" | "ALLOW_EMPTY_SENDER_DOMAINS" | "AUTOSET_HOSTNAME" | "SKIP_ROOT_SPOOL_CHOWN" => {}
            _ if name.starts_with("XOAUTH2_") => self.draft.leave(format!("{name}: smart hosts take a user and a password; no token is fetched")),
            _ => match name.strip_prefix("POSTFIX_").or_else(|| name.strip_prefix("POSTCONF_")) {
                Some(setting) => self.settings.set(&setting.to_ascii_lowercase(), value),
                None => self.known -= 1,
            },
        }
    }

    /// `HOSTNAME` is set by every shell; a name that was meant has a dot, and one that was said goes before it.
    fn hostname(&mut self, name: &str, value: &str) {
        if name != "HOSTNAME" || value.contains('.') && !self.settings.has("myhostname") {
            self.settings.set("myhostname", value);
        } else {
            self.known -= 1;
        }
    }

    fn networks(&mut self, value: &str) {
        let spaced = value.split([':', ';']).collect::<Vec<_>>();
        // namshi/smtp: ":192.168.0.0/24:10.0.0.0/16"; an IPv6 network has colons of its own.
        let value = if value.starts_with(':') && !value.contains("::") { spaced.join(" ") } else { value.replace(';', " ") };
        self.settings.set("mynetworks", value.trim());
    }

    fn draft(mut self, files: &Files<'_>) -> Draft {
        self.relay();
        let service = Service::at(587, "the container's port; see what the application is configured with");
        postfix::carry(&self.settings, &[service], Asked { domains: &self.domains, files }, &mut self.draft);
        if let Some(file) = &self.password_file {
            self.draft.text("smart_hosts.relayhost", "password_file", file, "the variable of the image");
        } else if self.has_password {
            self.draft.ask("the password stood in a variable: put it into secrets/relayhost (or POSTSEAL_SMART_HOSTS__RELAYHOST__PASSWORD)");
        }
        self.draft.ask("for one domain beside one application the flat form is enough: [sidecar] in postseal.toml, or POSTSEAL_SIDECAR__… alone");
        self.draft
    }

    fn relay(&mut self) {
        let Some(host) = self.relay_host.take() else { return };
        let has_port = host.contains("]:") || (!host.starts_with('[') && host.contains(':'));
        let hop = match (&self.relay_port, has_port) {
            (Some(port), false) => format!("[{}]:{port}", host.trim_matches(['[', ']'])),
            _ if self.user.is_some() && !has_port => format!("[{}]:587", host.trim_matches(['[', ']'])),
            _ => host,
        };
        self.settings.set("relayhost", &hop);
        if let Some(user) = &self.user {
            self.settings.set("smtp_sasl_auth_enable", "yes");
            self.settings.set("smtp_sasl_password_maps", &format!("static:{user}:"));
        }
        if self.user.is_some() && !self.settings.has("smtp_tls_security_level") {
            self.settings.set("smtp_tls_security_level", "encrypt");
        }
    }
}

fn why_left(name: &str) -> &'static str {
    match name {
        "MASQUERADED_DOMAINS" | "OVERWRITE_FROM" => "From stays as the application writes it; set it there",
        "ALWAYS_ADD_MISSING_HEADERS" => "Date and Message-ID are added where they are absent; a message without From is refused",
        "DESTINATION" | "RECIPIENT_RESTRICTIONS" => "recipients are not bounded by domain",
        _ => "header fields are not rewritten by patterns",
    }
}
