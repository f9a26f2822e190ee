//! The exemptions of a file.

use toml::Spanned;

use crate::{
    config::source_map::SourceMap,
    error::{ConfigError, nearest},
    key::{ClientIp, parse_network},
    rule::exempt::{self, Exemption},
};

const PREFLIGHTS: &str = "preflights";
const GRPC_HEALTH: &str = "grpc-health";
const UNKNOWN: &str = "neither a route such as \"GET /healthz\", nor a network such as \"10.0.0.0/8\", nor \"preflights\" or \
                       \"grpc-health\"";

/// Makes exemptions of their texts.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExemptReader<'a> {
    lines: SourceMap<'a>,
    /// As the file describes it.
    client_ip: Option<&'a ClientIp>,
}

/// The meaning of one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Route,
    Network,
    Preflights,
    GrpcHealth,
}

impl<'a> ExemptReader<'a> {
    pub(super) const fn new(lines: SourceMap<'a>, client_ip: Option<&'a ClientIp>) -> Self {
        Self { lines, client_ip }
    }

    /// Reads the texts of one field. All routes are one exemption, because the readings of a path may match several.
    pub(super) fn read(self, texts: &[Spanned<String>]) -> Result<Vec<Exemption>, ConfigError> {
        let (mut routes, mut networks, mut exemptions) = (Vec::new(), Vec::new(), Vec::new());
        for text in texts {
            match self.lines.locate(text, Kind::parse(text.get_ref()))? {
                Kind::Route => routes.push(text.get_ref()),
                Kind::Network => networks.push(text),
                Kind::Preflights => exemptions.push(exempt::preflights()),
                Kind::GrpcHealth => exemptions.push(exempt::grpc_health()),
            }
        }
        if !routes.is_empty() {
            exemptions.push(exempt::routes(routes));
        }
        if let Some(first) = networks.first() {
            let client = self.lines.locate(first, self.client_of(first.get_ref()))?;
            exemptions.push(exempt::networks(client, networks.iter().map(|network| network.get_ref())));
        }
        exemptions.iter().try_for_each(|exemption| exemption.validate().map_err(|error| self.locate(texts, error)))?;
        Ok(exemptions)
    }

    fn client_of(self, network: &str) -> Result<ClientIp, ConfigError> {
        let reason = "a network needs the table [client_ip], which names the trusted proxies";
        self.client_ip.cloned().ok_or_else(|| ConfigError::new("exempt", format_args!("\"{network}\""), reason))
    }

    /// Adds the line of the text that an error is about.
    fn locate(self, texts: &[Spanned<String>], error: ConfigError) -> ConfigError {
        let is_wrong = |text: &&Spanned<String>| error.value() == format!("\"{}\"", text.get_ref());
        match texts.iter().find(is_wrong).or(texts.first()) {
            Some(text) => error.at_line(self.lines.line_of(text)),
            None => error,
        }
    }
}

impl Kind {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        match text {
            PREFLIGHTS => Ok(Self::Preflights),
            GRPC_HEALTH => Ok(Self::GrpcHealth),
            _ if text.starts_with('/') || text.contains(char::is_whitespace) => Ok(Self::Route),
            _ if parse_network(text).is_ok() || is_like_a_network(text) => Ok(Self::Network),
            _ => {
                let reason = match nearest(text, [PREFLIGHTS, GRPC_HEALTH]) {
                    Some(word) => format!("unknown value: write \"{word}\""),
                    None => UNKNOWN.to_owned(),
                };
                Err(ConfigError::new("exempt", format_args!("\"{text}\""), reason))
            }
        }
    }
}

/// Returns whether a network was meant that is none.
fn is_like_a_network(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':' | b'/');
    text.contains(['.', ':', '/']) && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_it_looks_like() {
        for (text, kind) in [
            ("GET /healthz", Kind::Route),
            ("/healthz", Kind::Route),
            ("get x", Kind::Route),
            ("10.0.0.0/8", Kind::Network),
            ("2001:db8::/32", Kind::Network),
            ("192.0.2.1", Kind::Network),
            ("10.0.0.0/33", Kind::Network),
            ("10.0.0/8", Kind::Network),
            ("preflights", Kind::Preflights),
            ("grpc-health", Kind::GrpcHealth),
        ] {
            assert_eq!(Kind::parse(text).ok(), Some(kind), "{text}");
        }
    }

    #[test]
    fn another_word_is_refused_with_the_one_that_is_meant() {
        for (text, reason) in [
            ("preflight", "write \"preflights\""),
            ("grpc_health", "write \"grpc-health\""),
            ("internal", "neither a route"),
            ("", "neither a route"),
            ("healthz", "neither a route"),
        ] {
            let error = Kind::parse(text).unwrap_err();
            assert_eq!((error.field(), error.value()), ("exempt", &*format!("\"{text}\"")));
            assert!(error.reason().contains(reason), "{error}");
        }
    }
}
