//! Flags that change what is run.

use blixard_sim::sabotage::Sabotage;
use blixard_sim::subject::Blixard;
use clap::Args;
use clap::builder::PossibleValuesParser;

#[derive(Debug, Args)]
pub(crate) struct SubjectArgs {
    /// Break something on purpose, to see that it is found out.
    #[arg(long, value_name = "WHAT", value_parser = PossibleValuesParser::new(Sabotage::names()))]
    sabotage: Option<String>,
}

impl SubjectArgs {
    pub(crate) fn subject(&self) -> Blixard {
        Blixard(self.sabotage.as_deref().and_then(Sabotage::named).unwrap_or_default())
    }

    /// As arguments that give the same again.
    pub(crate) fn arguments(&self) -> Vec<String> {
        self.sabotage.iter().map(|name| format!("--sabotage {name}")).collect()
    }
}
