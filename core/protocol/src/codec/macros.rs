//! Types whose encoding is the encoding of their parts, one after the other.

/// A struct: its fields in order.
macro_rules! wire_struct {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type),* }

        impl $crate::codec::Wire for $name {
            const MIN_BYTES: usize = 0 $(+ <$type as $crate::codec::Wire>::MIN_BYTES)*;
            fn write(&self, out: &mut Vec<u8>) {
                let _ = &out;
                $($crate::codec::Wire::write(&self.$field, out);)*
            }
            fn read(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                let _ = &reader;
                Ok(Self { $($field: $crate::codec::Wire::read(reader)?),* })
            }
        }

        #[cfg(any(test, feature = "samples"))]
        impl $crate::codec::Sampled for $name {
            fn sample(source: &mut $crate::codec::Sample<'_>) -> Self {
                let _ = &source;
                Self { $($field: $crate::codec::Sampled::sample(source)),* }
            }
        }
    };
}

/// A choice: a tag byte, then what it holds.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident {
        $($(#[$variant_meta:meta])* $tag:literal => $variant:ident($type:ty)),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis enum $name { $($(#[$variant_meta])* $variant($type)),* }

        impl $crate::codec::Wire for $name {
            const MIN_BYTES: usize = 1;
            fn write(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(value) => {
                        out.push($tag);
                        $crate::codec::Wire::write(value, out);
                    })*
                }
            }
            fn read(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                match reader.byte()? {
                    $($tag => Ok(Self::$variant($crate::codec::Wire::read(reader)?)),)*
                    other => Err($crate::codec::DecodeError::UnknownTag(u16::from(other))),
                }
            }
        }

        #[cfg(any(test, feature = "samples"))]
        impl $crate::codec::Sampled for $name {
            fn sample(source: &mut $crate::codec::Sample<'_>) -> Self {
                let tags: &[u8] = &[$($tag),*];
                match tags[usize::from(source.byte()) % tags.len()] {
                    $($tag => Self::$variant($crate::codec::Sampled::sample(source)),)*
                    _ => unreachable!("a tag of the list"),
                }
            }
        }
    };
}

/// A code: one number out of a list.
macro_rules! wire_code {
    ($(#[$meta:meta])* $vis:vis enum $name:ident : $repr:ty {
        $($(#[$variant_meta:meta])* $variant:ident = $tag:literal),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $($(#[$variant_meta])* $variant = $tag),* }

        impl $name {
            /// Every code there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
        }

        impl $crate::codec::Wire for $name {
            const MIN_BYTES: usize = 1;
            fn write(&self, out: &mut Vec<u8>) {
                (*self as $repr).write(out);
            }
            fn read(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                match <$repr as $crate::codec::Wire>::read(reader)? {
                    $($tag => Ok(Self::$variant),)*
                    other => Err($crate::codec::DecodeError::UnknownTag(u16::from(other))),
                }
            }
        }

        #[cfg(any(test, feature = "samples"))]
        impl $crate::codec::Sampled for $name {
            fn sample(source: &mut $crate::codec::Sample<'_>) -> Self {
                Self::ALL[usize::from(source.byte()) % Self::ALL.len()]
            }
        }
    };
}

pub(crate) use {wire_code, wire_enum, wire_struct};
