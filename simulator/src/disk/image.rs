//! The content of one file, in pages that its versions share.

use std::sync::Arc;

/// The size of a page. redb writes whole ones, but for its header and the frame before it.
pub(super) const PAGE_LEN: usize = 4096;
/// What a medium writes whole or not at all.
pub(super) const SECTOR_LEN: usize = 512;

pub(super) type Page = Arc<[u8; PAGE_LEN]>;

/// A file's bytes. A page that was never written is zeros and takes no memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    len: u64,
    pages: Vec<Option<Page>>,
}

/// One page after a write to it, and which of its sectors the write touched.
#[derive(Clone, Debug)]
pub(super) struct PageWrite {
    pub(super) number: usize,
    pub(super) page: Page,
    /// Bit `n` stands for sector `n`.
    pub(super) sectors: u8,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.len = len;
        self.pages.resize((len as usize).div_ceil(PAGE_LEN), None);
        let rest = len as usize % PAGE_LEN;
        // What comes back when the file grows again is zeros.
        if rest > 0
            && let Some(Some(page)) = self.pages.last_mut()
        {
            Arc::make_mut(page)[rest..].fill(0);
        }
    }

    /// Fills `out` from `offset`; false if that goes past the end.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        if offset + out.len() as u64 > self.len {
            return false;
        }
        for (number, within, range) in spans(offset, out.len()) {
            let out = &mut out[range];
            match &self.pages[number] {
                Some(page) => out.copy_from_slice(&page[within..within + out.len()]),
                None => out.fill(0),
            }
        }
        true
    }

    /// Writes `data` at `offset` and hands each page it touched to `each`; false if that goes past the end.
    pub(super) fn write(&mut self, offset: u64, data: &[u8], mut each: impl FnMut(PageWrite)) -> bool {
        if offset + data.len() as u64 > self.len {
            return false;
        }
        for (number, within, range) in spans(offset, data.len()) {
            let data = &data[range];
            let mut bytes = match &self.pages[number] {
                Some(page) if data.len() < PAGE_LEN => **page,
                _ => [0; PAGE_LEN],
            };
            bytes[within..within + data.len()].copy_from_slice(data);
            let page = Page::new(bytes);
            self.pages[number] = Some(page.clone());
            let (first, last) = (within / SECTOR_LEN, (within + data.len() - 1) / SECTOR_LEN);
            let sectors = (first..=last).fold(0, |sectors, sector| sectors | 1 << sector);
            each(PageWrite { number, page, sectors });
        }
        true
    }

    /// Takes a page over whole. Beyond the end there is nothing to take it.
    pub(super) fn put(&mut self, number: usize, page: &Page) {
        if let Some(slot) = self.pages.get_mut(number) {
            *slot = Some(page.clone());
        }
    }

    /// Takes one sector of `page` over.
    pub(super) fn put_sector(&mut self, number: usize, sector: usize, page: &Page) {
        if let Some(slot) = self.pages.get_mut(number) {
            let own = slot.get_or_insert_with(|| Page::new([0; PAGE_LEN]));
            let range = sector * SECTOR_LEN..(sector + 1) * SECTOR_LEN;
            Arc::make_mut(own)[range.clone()].copy_from_slice(&page[range]);
        }
    }

    /// Flips one bit.
    pub(super) fn flip(&mut self, byte: u64, bit: u8) {
        let (number, within) = (byte as usize / PAGE_LEN, byte as usize % PAGE_LEN);
        if let Some(slot) = self.pages.get_mut(number) {
            let own = slot.get_or_insert_with(|| Page::new([0; PAGE_LEN]));
            Arc::make_mut(own)[within] ^= 1 << bit;
        }
    }

    /// The numbers of the pages that were ever written.
    pub(super) fn written_pages(&self) -> impl Iterator<Item = usize> {
        self.pages.iter().enumerate().filter(|(_, page)| page.is_some()).map(|(number, _)| number)
    }
}

/// Cuts `len` bytes from `offset` at page borders: page, offset in it, range of the bytes.
fn spans(offset: u64, len: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset as usize + done;
        let take = (PAGE_LEN - at % PAGE_LEN).min(len - done);
        let span = (at / PAGE_LEN, at % PAGE_LEN, done..done + take);
        done += take;
        Some(span)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_was_written_across_pages() {
        let mut image = Image::default();
        image.set_len(3 * PAGE_LEN as u64);
        let data: Vec<u8> = (0..5_000).map(|at| at as u8).collect();
        let mut touched = Vec::new();
        assert!(image.write(4_000, &data, |write| touched.push((write.number, write.sectors))));
        assert_eq!(touched, [(0, 0b1000_0000), (1, 0b1111_1111), (2, 0b0000_0011)]);
        let mut out = vec![1; 5_100];
        assert!(image.read(3_950, &mut out));
        assert_eq!(out[..50], [0; 50]);
        assert_eq!(out[50..5_050], data);
        assert!(!image.read(8_000, &mut [0; 5_000]), "past the end");
    }

    #[test]
    fn what_was_cut_off_comes_back_as_zeros() {
        let mut image = Image::default();
        image.set_len(5_000);
        assert!(image.write(0, &[7; 5_000], |_| ()));
        image.set_len(100);
        image.set_len(5_000);
        let mut out = vec![1; 5_000];
        assert!(image.read(0, &mut out));
        assert_eq!(out[..100], [7; 100]);
        assert_eq!(out[100..], [0; 4_900]);
    }
}
