//! Dumps as collectors publish them: gzip, bzip2, xz or zstd, known by their first bytes, or plain. Never more bytes out
//! than allowed, however few go in.
use std::io::{self, BufReader, Read, Write};

use super::MrtError;

/// How a file is compressed, and its first bytes.
const FORMATS: [(Format, &[u8]); 4] = [
    (Format::Gzip, &[0x1f, 0x8b]),
    (Format::Bzip2, b"BZh"),
    (Format::Xz, &[0xfd, b'7', b'z', b'X', b'Z', 0]),
    (Format::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// The plain bytes of a file.
///
/// # Errors
/// [`MrtError::Compressed`] for bytes that do not decompress, [`MrtError::TooLarge`] for more than `max` of them.
pub(super) fn unpack(bytes: Vec<u8>, max: u64) -> Result<Vec<u8>, MrtError> {
    let format = FORMATS
        .into_iter()
        .find(|(_, magic)| bytes.starts_with(magic));
    let Some((format, _)) = format else {
        return Ok(bytes);
    };
    let mut plain = Bounded {
        bytes: Vec::new(),
        left: max,
    };
    let result = match format {
        Format::Gzip => copy(flate2::read::MultiGzDecoder::new(&bytes[..]), &mut plain),
        Format::Bzip2 => copy(bzip2::read::MultiBzDecoder::new(&bytes[..]), &mut plain),
        Format::Xz => xz(&bytes, &mut plain),
        Format::Zstd => zstd(&bytes, &mut plain),
    };
    if plain.left == 0 && result.is_err() {
        return Err(MrtError::TooLarge(max));
    }
    result.map_err(MrtError::Compressed)?;
    Ok(plain.bytes)
}

fn copy(mut from: impl Read, to: &mut Bounded) -> io::Result<()> {
    io::copy(&mut from, to).map(|_| ())
}

fn xz(bytes: &[u8], to: &mut Bounded) -> io::Result<()> {
    let mut from = BufReader::new(bytes);
    lzma_rs::xz_decompress(&mut from, to).map_err(|error| match error {
        lzma_rs::error::Error::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    })
}

/// One frame after the other.
fn zstd(mut bytes: &[u8], to: &mut Bounded) -> io::Result<()> {
    while !bytes.is_empty() {
        let frame = ruzstd::decoding::StreamingDecoder::new(&mut bytes);
        copy(frame.map_err(io::Error::other)?, to)?;
    }
    Ok(())
}

/// Bytes, and how many more there may be.
struct Bounded {
    bytes: Vec<u8>,
    left: u64,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            self.left = 0;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.left -= bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn every_format(plain: &[u8]) -> [Vec<u8>; 4] {
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(plain).unwrap();
        let mut xz = Vec::new();
        lzma_rs::xz_compress(&mut BufReader::new(plain), &mut xz).unwrap();
        let level = ruzstd::encoding::CompressionLevel::Fastest;
        let zstd = ruzstd::encoding::compress_to_vec(plain, level);
        [gzip(plain), bzip2.finish().unwrap(), xz, zstd]
    }

    #[test]
    fn every_format_is_read_up_to_the_limit() {
        let plain: Vec<u8> = (0..100_000u32).map(|n| (n >> 3) as u8).collect();
        for packed in every_format(&plain) {
            let magic = packed[..2].to_vec();
            assert!(
                unpack(packed.clone(), 100_000).unwrap() == plain,
                "{magic:x?}"
            );
            let error = unpack(packed.clone(), 99_999).unwrap_err();
            assert!(
                matches!(error, MrtError::TooLarge(99_999)),
                "{magic:x?}: {error}"
            );
            let cut = packed[..packed.len() / 2].to_vec();
            let error = unpack(cut, 100_000).unwrap_err();
            assert!(
                matches!(error, MrtError::Compressed(_)),
                "{magic:x?}: {error}"
            );
        }
        assert_eq!(
            unpack(plain.clone(), 1).unwrap(),
            plain,
            "plain bytes are not touched"
        );
    }

    #[test]
    fn files_of_several_members_are_read_to_their_end() {
        for (one, two) in every_format(b"read ")
            .into_iter()
            .zip(every_format(b"twice"))
        {
            let magic = one[..2].to_vec();
            if magic == [0xfd, b'7'] {
                continue; // no collector publishes them
            }
            let both = unpack([one, two].concat(), 100).unwrap();
            assert_eq!(both, b"read twice", "{magic:x?}");
        }
    }
}
