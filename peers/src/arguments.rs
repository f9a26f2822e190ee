//! The command line.

/// What is run, and how thoroughly.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    pub(crate) sections: Vec<Section>,
    pub(crate) effort: Effort,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Exactness,
    Decision,
    Layer,
    Memory,
    Redis,
    Scaling,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) is_quick: bool,
    pub(crate) rounds: usize,
    /// Decisions per round.
    pub(crate) decisions: usize,
    /// Of the workloads with a Zipf distribution and with all keys alike.
    pub(crate) keys: [usize; 2],
    pub(crate) random_schedules: usize,
    /// Requests per round to a table of routes, and over loopback.
    pub(crate) requests: [usize; 2],
    /// New keys of the flood.
    pub(crate) flood: usize,
    /// The last of the points on the axis of keys.
    pub(crate) most_keys: usize,
}

const FULL: Effort = Effort {
    is_quick: false,
    rounds: 7,
    decisions: 500_000,
    keys: [100_000, 1_000_000],
    random_schedules: 200,
    requests: [100_000, 30_000],
    flood: 5_000_000,
    most_keys: 5_000_000,
};

const QUICK: Effort = Effort {
    is_quick: true,
    rounds: 3,
    decisions: 60_000,
    keys: [20_000, 100_000],
    random_schedules: 20,
    requests: [20_000, 10_000],
    flood: 500_000,
    most_keys: 500_000,
};

impl Section {
    pub(crate) const ALL: [Self; 6] =
        [Self::Exactness, Self::Decision, Self::Layer, Self::Memory, Self::Redis, Self::Scaling];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Exactness => "exactness",
            Self::Decision => "decision",
            Self::Layer => "layer",
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::Scaling => "scaling",
        }
    }
}

impl Arguments {
    /// Reads what stands after the program's name.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self { sections: Vec::new(), effort: FULL };
        for argument in arguments {
            let section = Section::ALL.into_iter().find(|section| section.name() == argument);
            match (argument.as_str(), section) {
                ("--quick", _) => parsed.effort = QUICK,
                (_, Some(section)) => parsed.sections.push(section),
                (_, None) => return Err(usage(&argument)),
            }
        }
        if parsed.sections.is_empty() {
            parsed.sections = Section::ALL.to_vec();
        }
        Ok(parsed)
    }
}

fn usage(argument: &str) -> String {
    let sections = Section::ALL.map(Section::name).join("|");
    format!("peers: `{argument}` is not known; usage: cargo run --release -p peers -- [--quick] [{sections}]...")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(ToOwned::to_owned))
    }

    #[test]
    fn without_arguments_all_sections_run() {
        let parsed = parse("").unwrap();
        assert_eq!(parsed.sections, Section::ALL);
        assert!(!parsed.effort.is_quick);
    }

    #[test]
    fn sections_are_run_in_the_order_given() {
        let parsed = parse("memory --quick decision").unwrap();
        assert_eq!(parsed.sections, [Section::Memory, Section::Decision]);
        assert!(parsed.effort.is_quick);
    }

    #[test]
    fn what_is_not_known_is_named_beside_what_is() {
        let message = parse("speed").unwrap_err();
        assert!(message.contains("`speed`") && message.contains("exactness|decision"), "{message}");
    }
}
