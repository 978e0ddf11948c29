//! What all encodings share: the trait between a domain type and its protobuf form, numbered enums.

use prost::Message as _;

use crate::codec::CodecError;
use crate::spec::VmName;

/// A domain type and its protobuf form. `read(form(x)) == x` for every `x`.
pub(crate) trait Wire: Sized {
    /// The protobuf form.
    type Form: prost::Message + Default;

    /// To the form.
    fn form(&self) -> Self::Form;

    /// From the form, checked.
    fn read(form: Self::Form) -> Result<Self, CodecError>;
}

/// Reads a part that must be there.
pub(crate) fn part<T: Wire>(what: &'static str, form: Option<T::Form>) -> Result<T, CodecError> {
    T::read(form.ok_or(CodecError::Missing { what })?)
}

/// Forms of many.
pub(crate) fn forms<T: Wire>(items: &[T]) -> Vec<T::Form> {
    items.iter().map(Wire::form).collect()
}

/// Reads many.
pub(crate) fn parts<T: Wire>(forms: Vec<T::Form>) -> Result<Vec<T>, CodecError> {
    forms.into_iter().map(T::read).collect()
}

/// Decodes at most `max` bytes.
pub(crate) fn decode<T: Wire>(what: &'static str, bytes: &[u8], max: usize) -> Result<T, CodecError> {
    if bytes.len() > max {
        return Err(CodecError::TooLong { what, len: bytes.len(), max });
    }
    let form = T::Form::decode(bytes).map_err(|error| CodecError::malformed(what, error.to_string()))?;
    T::read(form)
}

/// Reads a VM's name.
pub(crate) fn vm_name(text: String) -> Result<VmName, CodecError> {
    VmName::new(text).map_err(|error| CodecError::malformed("a VM's name", error.to_string()))
}

/// An enum without content, as a number from 1. 0 is protobuf's "not given" and always an error.
pub(crate) trait Numbered: Sized {
    /// To its number.
    fn number(&self) -> u32;

    /// From its number.
    fn from_number(number: u32) -> Result<Self, CodecError>;
}

macro_rules! numbered {
    ($type:ty, $what:literal, $($variant:ident = $number:literal),+ $(,)?) => {
        impl $crate::codec::wire::Numbered for $type {
            fn number(&self) -> u32 {
                match self {
                    $(Self::$variant => $number,)+
                }
            }

            fn from_number(number: u32) -> Result<Self, $crate::codec::CodecError> {
                match number {
                    $($number => Ok(Self::$variant),)+
                    0 => Err($crate::codec::CodecError::Missing { what: $what }),
                    _ => Err($crate::codec::CodecError::UnknownKind {
                        what: $what,
                        number: u64::from(number),
                    }),
                }
            }
        }
    };
}
pub(crate) use numbered;
