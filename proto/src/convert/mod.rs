//! Between `blixard.v1` and the node's types.
//!
//! To the wire is `From`, from the wire is `TryFrom` with [`BadMessage`]: what comes in is another program's.

mod cluster;
mod request;
mod vm;

pub use request::{Change, consistency};

/// A message that is not what the interface says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct BadMessage {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl BadMessage {
    /// The stable code.
    pub const CODE: &'static str = "BLX-RPC-001";

    /// A field that breaks its rule.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }

    fn missing(field: &'static str) -> Self {
        Self::new(field, "is missing")
    }
}

fn vm_name(text: String) -> Result<blixard_node::spec::VmName, BadMessage> {
    blixard_node::spec::VmName::new(text).map_err(|error| BadMessage::new("name", error.to_string()))
}

/// Both ways between an enum of the node and one of the wire that has the same variants and `Unspecified`.
macro_rules! same_variants {
    ($node:ty, $wire:ty, $field:literal, $($variant:ident),+ $(,)?) => {
        impl From<$node> for $wire {
            fn from(value: $node) -> Self {
                match value {
                    $(<$node>::$variant => Self::$variant,)+
                }
            }
        }

        impl TryFrom<$wire> for $node {
            type Error = $crate::convert::BadMessage;

            fn try_from(value: $wire) -> Result<Self, Self::Error> {
                match value {
                    $(<$wire>::$variant => Ok(Self::$variant),)+
                    <$wire>::Unspecified => Err($crate::convert::BadMessage::missing($field)),
                }
            }
        }
    };
}
use same_variants;

/// Reads an enum's number.
fn number<W, T>(field: &'static str, number: i32) -> Result<T, BadMessage>
where
    W: TryFrom<i32>,
    T: TryFrom<W, Error = BadMessage>,
{
    let value = W::try_from(number)
        .map_err(|_| BadMessage::new(field, format!("{number} is not known to this version")))?;
    T::try_from(value)
}
