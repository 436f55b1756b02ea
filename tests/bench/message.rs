//! The messages of the load: headers as applications write them, a body of words, a number to know each by.

/// Makes messages of one size.
pub struct Letters {
    body: Vec<u8>,
    octets: usize,
    domains: usize,
}

impl Letters {
    /// Of so many octets each, to so many recipient domains in turn.
    pub fn new(octets: usize, domains: usize) -> Self {
        let mut body = Vec::with_capacity(octets + LINE_OCTETS);
        let mut state = 12_345_u32;
        while body.len() < octets {
            for column in 0..LINE_OCTETS {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let letter = WORDS[(state >> 16) as usize % WORDS.len()];
                body.push(if column == 0 || column == LINE_OCTETS - 1 { b'e' } else { letter });
            }
            body.extend_from_slice(b"\r\n");
        }
        Self { body, octets, domains: domains.max(1) }
    }

    /// `MAIL FROM` of a message.
    pub fn sender(number: u64) -> String {
        format!("sender{}@{DOMAIN}", number % SENDERS)
    }

    /// Who gets it.
    pub fn recipient(&self, number: u64) -> String {
        format!("r0@{}", recipient_domain(number % self.domains as u64))
    }

    /// The message with its final dot. No line of it begins with a dot.
    pub fn print(&self, number: u64) -> Vec<u8> {
        let (sender, recipient) = (Self::sender(number), self.recipient(number));
        let header = format!(
            "From: \"Bench Sender\" <{sender}>\r\nTo: <{recipient}>\r\nSubject: Message {number} of a bench\r\n\
             Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{number}.{}@{DOMAIN}>\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n{NUMBER_FIELD}: {number}\r\n\r\n",
            std::process::id()
        );
        let mut octets = Vec::with_capacity(self.octets + 8);
        octets.extend_from_slice(header.as_bytes());
        octets.extend_from_slice(&self.body[..self.octets.saturating_sub(header.len() + 2)]);
        octets.extend_from_slice(b"\r\n.\r\n");
        octets
    }
}

/// The number of a message that arrived.
pub fn number_of(message: &[u8]) -> Option<u64> {
    let (field, at) = (format!("\r\n{NUMBER_FIELD}: "), memchr::memmem::find(message, b"\r\n\r\n")?);
    let begin = memchr::memmem::find(&message[..at], field.as_bytes())? + field.len();
    let digits = message[begin..].iter().take_while(|octet| octet.is_ascii_digit()).count();
    std::str::from_utf8(&message[begin..begin + digits]).ok()?.parse().ok()
}

/// One of the domains that mail goes to.
pub fn recipient_domain(number: u64) -> String {
    format!("d{number}.example.net")
}

/// The author domain, which has the key.
pub const DOMAIN: &str = "example.com";
const NUMBER_FIELD: &str = "X-Bench";
const SENDERS: u64 = 1000;
const LINE_OCTETS: usize = 72;
const WORDS: &[u8] = b"etaoin shrdlu cmfwyp vbgkqj ETAOIN 0123456789 , ; : lorem ipsum dolor sit amet ";
