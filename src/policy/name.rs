//! The name of a quota in header fields and bodies.

/// A name, within what an item of a `RateLimit` field begins with: `"bots/minute";r=`.
#[derive(Debug)]
pub(crate) struct PolicyName {
    head: Box<str>,
}

const QUOTE: &str = "\"";
const AFTER: &str = "\";r=";

impl PolicyName {
    pub(crate) fn new(name: &str) -> Self {
        Self { head: format!("{QUOTE}{name}{AFTER}").into() }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.head.get(QUOTE.len()..self.head.len() - AFTER.len()).unwrap_or_default()
    }

    /// The name as an item of a `RateLimit` field begins with it, up to what remains.
    pub(crate) const fn head(&self) -> &str {
        &self.head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back() {
        for name in ["", "minute", "bots/minute"] {
            assert_eq!(PolicyName::new(name).as_str(), name);
        }
        assert_eq!(PolicyName::new("minute").head(), "\"minute\";r=");
    }
}
