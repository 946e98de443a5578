//! The storage types of tensors.

macro_rules! ggml_types {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $elements:literal per $bytes:literal;)*) => {
        /// How a tensor's numbers are stored: blocks of `block_elements` numbers in `block_bytes` bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(non_camel_case_types, reason = "the names the format uses")]
        #[non_exhaustive]
        pub enum GgmlType { $($(#[$doc])* $name,)* }

        impl GgmlType {
            /// Every type this reader knows.
            pub const ALL: &'static [GgmlType] = &[$(GgmlType::$name,)*];

            /// The type with this number in the file, if it is known.
            pub fn from_id(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$name),)* _ => None }
            }

            /// The type's number in the file.
            pub fn id(self) -> u32 {
                match self { $(Self::$name => $id,)* }
            }

            /// How many numbers one block holds.
            pub fn block_elements(self) -> usize {
                match self { $(Self::$name => $elements,)* }
            }

            /// How many bytes one block takes.
            pub fn block_bytes(self) -> usize {
                match self { $(Self::$name => $bytes,)* }
            }

            /// The name people know the type by, such as `Q4_K`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

ggml_types! {
    /// 32-bit float.
    F32 = 0, 1 per 4;
    /// 16-bit float.
    F16 = 1, 1 per 2;
    /// 4 bits, a scale per 32.
    Q4_0 = 2, 32 per 18;
    /// 4 bits, a scale and a minimum per 32.
    Q4_1 = 3, 32 per 20;
    /// 5 bits, a scale per 32.
    Q5_0 = 6, 32 per 22;
    /// 5 bits, a scale and a minimum per 32.
    Q5_1 = 7, 32 per 24;
    /// 8 bits, a scale per 32.
    Q8_0 = 8, 32 per 34;
    /// 8 bits, a scale and a sum per 32.
    Q8_1 = 9, 32 per 36;
    /// 2 bits, super-blocks of 256.
    Q2_K = 10, 256 per 84;
    /// 3 bits, super-blocks of 256.
    Q3_K = 11, 256 per 110;
    /// 4 bits, super-blocks of 256.
    Q4_K = 12, 256 per 144;
    /// 5 bits, super-blocks of 256.
    Q5_K = 13, 256 per 176;
    /// 6 bits, super-blocks of 256.
    Q6_K = 14, 256 per 210;
    /// 8 bits, super-blocks of 256.
    Q8_K = 15, 256 per 292;
    /// 2.06 bits with codebooks.
    IQ2_XXS = 16, 256 per 66;
    /// 2.31 bits with codebooks.
    IQ2_XS = 17, 256 per 74;
    /// 3.06 bits with codebooks.
    IQ3_XXS = 18, 256 per 98;
    /// 1.56 bits with codebooks.
    IQ1_S = 19, 256 per 50;
    /// 4 bits, non-linear, a scale per 32.
    IQ4_NL = 20, 32 per 18;
    /// 3.44 bits with codebooks.
    IQ3_S = 21, 256 per 110;
    /// 2.5 bits with codebooks.
    IQ2_S = 22, 256 per 82;
    /// 4.25 bits, non-linear.
    IQ4_XS = 23, 256 per 136;
    /// 8-bit integer.
    I8 = 24, 1 per 1;
    /// 16-bit integer.
    I16 = 25, 1 per 2;
    /// 32-bit integer.
    I32 = 26, 1 per 4;
    /// 64-bit integer.
    I64 = 27, 1 per 8;
    /// 64-bit float.
    F64 = 28, 1 per 8;
    /// 1.75 bits with codebooks.
    IQ1_M = 29, 256 per 56;
    /// Brain float: the upper half of a 32-bit float.
    BF16 = 30, 1 per 2;
    /// Ternary, 1.69 bits.
    TQ1_0 = 34, 256 per 54;
    /// Ternary, 2.06 bits.
    TQ2_0 = 35, 256 per 66;
    /// 4-bit float, a power-of-two scale per 32.
    MXFP4 = 39, 32 per 17;
}
