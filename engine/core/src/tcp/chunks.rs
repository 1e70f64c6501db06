//! What queues hold: bytes of frames and references to sources.
//!
//! All queues of all connections are lists in one slab, so a connection pays
//! four bytes for a queue that is empty and nothing is allocated for a queue
//! that is short. A list is circular and known by its tail; the tail's next is
//! the head:
//!
//! ```text
//!   tail ----------------------+
//!                              v
//!   [head] -> [ .. ] -> .. -> [tail] -> back to head
//! ```
//!
//! A queue of data to send may hold *references*: a range of a source that the
//! application registered. Such data is never kept per connection; it is read
//! again when it has to be sent again.

use crate::frame::{Frame, FramePool};
use crate::seq::Seq;
use crate::slab::Slab;
use crate::tcp::source::Source;

/// Bytes registered once and sent any number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceId(pub(crate) u32);

/// What one element of a queue holds.
#[derive(Debug)]
pub(crate) enum Content {
    /// The window of a frame.
    Frame(Frame),
    /// `len` bytes of a source from `offset` on.
    Source {
        source: SourceId,
        offset: u64,
        len: u64,
    },
}

impl Content {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Content::Frame(frame) => frame.len() as u64,
            Content::Source { len, .. } => *len,
        }
    }

    /// It is a frame of the shard's pool.
    pub(crate) fn is_pool_frame(&self) -> bool {
        matches!(self, Content::Frame(frame) if !frame.is_copied())
    }

    /// Cuts `count` bytes off the front.
    fn skip(&mut self, count: u64) {
        match self {
            Content::Frame(frame) => {
                let count = usize::try_from(count)
                    .unwrap_or(usize::MAX)
                    .min(frame.len());
                frame.narrow(count, frame.len() - count);
            }
            Content::Source { offset, len, .. } => {
                let count = count.min(*len);
                *offset += count;
                *len -= count;
            }
        }
    }
}

/// One element of a list.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) content: Content,
    /// First sequence number of the content; only reassembly looks at it.
    pub(crate) seq: Seq,
    /// A FIN follows the content, in reassembly; in a send queue a record ends with it.
    pub(crate) fin: bool,
    next: u32,
}

impl Chunk {
    /// The sequence number after the content.
    pub(crate) fn end(&self) -> Seq {
        self.seq + u32::try_from(self.content.len()).unwrap_or(u32::MAX)
    }
}

const NONE: u32 = u32::MAX;

/// A list of chunks, known by its tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List(u32);

impl List {
    pub(crate) const EMPTY: List = List(NONE);

    pub(crate) fn is_empty(self) -> bool {
        self == List::EMPTY
    }

    /// The index of the last chunk.
    pub(crate) fn tail(self) -> Option<u32> {
        (!self.is_empty()).then_some(self.0)
    }
}

/// A byte of a list: so many behind the start of a chunk, or of the list. Two words,
/// which are handed on in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// None is the head.
    chunk: u32,
    skip: u64,
}

impl Place {
    /// So many bytes behind the start of the list.
    #[inline]
    pub(crate) fn from_head(skip: u64) -> Place {
        Place { chunk: NONE, skip }
    }

    /// So many bytes behind the start of a chunk.
    #[inline]
    pub(crate) fn from_chunk(chunk: u32, skip: u64) -> Place {
        Place { chunk, skip }
    }
}

/// The slab of all chunks of a shard, and the sources that they refer to.
#[derive(Debug)]
pub(crate) struct Chunks {
    slab: Slab<Chunk>,
    sources: Vec<Source>,
    /// Pool frames in chunks, and how many there may be: past it, bytes are
    /// copied out, so that a slow reader never starves the fill ring.
    frames_held: usize,
    frames_limit: usize,
}

impl Chunks {
    pub(crate) fn new(limit: usize, frames_limit: usize) -> Chunks {
        Chunks {
            slab: Slab::new(limit),
            sources: Vec::new(),
            frames_held: 0,
            frames_limit,
        }
    }

    pub(crate) fn register(&mut self, source: Source) -> SourceId {
        self.sources.push(source);
        SourceId(u32::try_from(self.sources.len() - 1).unwrap_or(u32::MAX))
    }

    pub(crate) fn source_len(&self, source: SourceId) -> u64 {
        self.sources.get(source.0 as usize).map_or(0, Source::len)
    }

    /// Chunks in all lists.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Pool frames in all lists.
    pub(crate) fn frames_held(&self) -> usize {
        self.frames_held
    }

    /// A received frame may be content as it is; else a copy of its window has to be
    /// ([`copy_out`](Chunks::copy_out)).
    #[inline]
    pub(crate) fn may_keep(&self, frame: &Frame) -> bool {
        self.frames_held < self.frames_limit || frame.is_copied()
    }

    /// A copy of a frame's window; the frame goes home.
    pub(crate) fn copy_out(frame: Frame, pool: &mut FramePool) -> Frame {
        let copy = Frame::copied(frame.data());
        pool.free(frame);
        copy
    }

    /// A chunk in front of `next`.
    #[inline]
    fn make(&mut self, content: Content, seq: Seq, fin: bool, next: u32) -> Result<u32, Content> {
        let holds = usize::from(content.is_pool_frame());
        let chunk = Chunk {
            content,
            seq,
            fin,
            next,
        };
        let index = self.slab.insert(chunk).map_err(|chunk| chunk.content)?;
        self.frames_held += holds;
        Ok(index)
    }

    fn next(&self, index: u32) -> u32 {
        self.slab.get(index).map_or(NONE, |chunk| chunk.next)
    }

    fn link(&mut self, index: u32, next: u32) {
        if let Some(chunk) = self.slab.get_mut(index) {
            chunk.next = next;
        }
    }

    /// Appends, and tells where; gives the content back when the slab is full.
    pub(crate) fn push_back(
        &mut self,
        list: &mut List,
        content: Content,
        seq: Seq,
        fin: bool,
    ) -> Result<u32, Content> {
        // There is no chunk of an empty list, so it has no head.
        let head = self.next(list.0);
        let index = self.make(content, seq, fin, head)?;
        let last = if list.is_empty() { index } else { list.0 };
        self.link(last, index);
        *list = List(index);
        Ok(index)
    }

    pub(crate) fn at(&self, index: u32) -> Option<&Chunk> {
        self.slab.get(index)
    }

    pub(crate) fn front(&self, list: List) -> Option<&Chunk> {
        self.slab.get(self.next(list.0))
    }

    pub(crate) fn back(&self, list: List) -> Option<&Chunk> {
        self.slab.get(list.0)
    }

    pub(crate) fn pop_front(&mut self, list: &mut List) -> Option<Chunk> {
        let head = self.next(list.0);
        let chunk = self.slab.remove(head)?;
        if head == list.0 {
            *list = List::EMPTY;
        } else {
            self.link(list.0, chunk.next);
        }
        self.frames_held -= usize::from(chunk.content.is_pool_frame());
        Some(chunk)
    }

    /// Cuts `count` bytes off the front of a list; frames that this empties go
    /// back to the pool.
    pub(crate) fn skip(&mut self, list: &mut List, mut count: u64, pool: &mut FramePool) {
        while count > 0 && !list.is_empty() {
            let head = self.next(list.0);
            let Some(chunk) = self.slab.get_mut(head) else {
                return;
            };
            let len = chunk.content.len();
            if len > count {
                chunk.content.skip(count);
                return;
            }
            count -= len;
            self.release_front(list, pool);
        }
    }

    fn release_front(&mut self, list: &mut List, pool: &mut FramePool) {
        if let Some(Chunk {
            content: Content::Frame(frame),
            ..
        }) = self.pop_front(list)
        {
            pool.free(frame);
        }
    }

    /// Empties a list.
    pub(crate) fn clear(&mut self, list: &mut List, pool: &mut FramePool) {
        while !list.is_empty() {
            self.release_front(list, pool);
        }
    }

    /// Walks a list from its head: (index, chunk).
    pub(crate) fn walk(&self, list: List) -> impl Iterator<Item = (u32, &Chunk)> {
        self.walk_at(list, self.next(list.0))
    }

    /// Walks a list from its chunk `from`, or from its head.
    pub(crate) fn walk_from(
        &self,
        list: List,
        from: Option<u32>,
    ) -> impl Iterator<Item = (u32, &Chunk)> {
        self.walk_at(list, from.unwrap_or_else(|| self.next(list.0)))
    }

    fn walk_at(&self, list: List, mut at: u32) -> impl Iterator<Item = (u32, &Chunk)> {
        let mut done = list.is_empty();
        std::iter::from_fn(move || {
            if done {
                return None;
            }
            let here = at;
            let chunk = self.slab.get(here)?;
            done = here == list.0;
            at = chunk.next;
            Some((here, chunk))
        })
    }

    /// Inserts behind the chunk `after`, or at the head when `after` is `None`.
    pub(crate) fn insert_after(
        &mut self,
        list: &mut List,
        after: Option<u32>,
        content: Content,
        seq: Seq,
        fin: bool,
    ) -> Result<u32, Content> {
        if list.is_empty() || after == Some(list.0) {
            return self.push_back(list, content, seq, fin);
        }
        // The tail's next is the head, so "before the head" is "after the tail".
        let previous = after.unwrap_or(list.0);
        let next = self.next(previous);
        let index = self.make(content, seq, fin, next)?;
        self.link(previous, index);
        Ok(index)
    }

    /// The chunk that a place is counted from.
    #[inline]
    fn start(&self, list: List, place: Place) -> u32 {
        if place.chunk == NONE {
            self.next(list.0)
        } else {
            place.chunk
        }
    }

    /// The chunk that a byte is in, and how many of its bytes come before that one; the
    /// last chunk for a byte behind the list.
    pub(crate) fn find(&self, list: List, place: Place) -> Option<(u32, u64)> {
        let mut skip = place.skip;
        for (index, chunk) in self.walk_at(list, self.start(list, place)) {
            let len = chunk.content.len();
            if skip < len || index == list.0 {
                return Some((index, skip));
            }
            skip -= len;
        }
        None
    }

    /// Copies the bytes from a place on into `into`, as far as the list goes, and
    /// tells how many there were.
    pub(crate) fn copy(&self, list: List, from: Place, into: &mut [u8]) -> usize {
        let mut skip = from.skip;
        let start = self.start(list, from);
        // Most often all of it is in one piece, in the first.
        if let Some(front) = self.slab.get(start)
            && let piece = self.piece(&front.content, skip, into.len())
            && piece.len() == into.len()
        {
            into.copy_from_slice(piece);
            return into.len();
        }
        let mut done = 0;
        for (_, chunk) in self.walk_at(list, start) {
            let len = chunk.content.len();
            while skip < len && done < into.len() {
                let rest = &mut into[done..];
                let piece = self.piece(&chunk.content, skip, rest.len());
                if piece.is_empty() {
                    return done;
                }
                rest[..piece.len()].copy_from_slice(piece);
                done += piece.len();
                skip += piece.len() as u64;
            }
            if done == into.len() {
                break;
            }
            skip -= len;
        }
        done
    }

    /// Bytes from a place on to the end of the next record, if they are `most` or fewer.
    pub(crate) fn record_end(&self, list: List, from: Place, most: u64) -> Option<u64> {
        let skip = from.skip;
        let mut end = 0;
        for (_, chunk) in self.walk_at(list, self.start(list, from)) {
            end += chunk.content.len();
            if end > skip + most {
                return None;
            }
            if chunk.fin && end > skip {
                return Some(end - skip);
            }
        }
        None
    }

    /// Bytes of a chunk from `skip` on, up to `most`: at least one, if it is that long.
    #[inline]
    fn piece<'a>(&'a self, content: &'a Content, skip: u64, most: usize) -> &'a [u8] {
        match content {
            Content::Frame(frame) => {
                let start = usize::try_from(skip).unwrap_or(usize::MAX);
                let rest = frame.data().get(start..).unwrap_or(&[]);
                &rest[..rest.len().min(most)]
            }
            Content::Source {
                source,
                offset,
                len,
            } => {
                let left = usize::try_from(len.saturating_sub(skip)).unwrap_or(usize::MAX);
                let source = self.sources.get(source.0 as usize);
                source.map_or(&[], |source| source.stretch(offset + skip, most.min(left)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(chunks: &mut Chunks, bytes: &[u8]) -> Content {
        let id = chunks.register(bytes.to_vec().into());
        Content::Source {
            source: id,
            offset: 0,
            len: bytes.len() as u64,
        }
    }

    proptest! {
        /// A list of mixed chunks reads as the concatenation of their bytes.
        #[test]
        fn a_list_is_the_bytes_that_went_in(
            parts in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), any::<bool>()), 0..12),
            cuts in prop::collection::vec((0u64..60, 0usize..60), 0..12),
        ) {
            let mut pool = FramePool::on_heap(0, 64);
            let mut chunks = Chunks::new(64, 4);
            let mut list = List::EMPTY;
            let mut model = Vec::new();
            for (bytes, by_reference) in parts {
                let content = if by_reference { source(&mut chunks, &bytes) } else { Content::Frame(Frame::copied(&bytes)) };
                chunks.push_back(&mut list, content, Seq(0), false).unwrap();
                model.extend(bytes);
            }
            for (skip, want) in cuts {
                let mut got = vec![0; want];
                let count = chunks.copy(list, Place::from_head(skip), &mut got);
                let from = usize::try_from(skip).unwrap().min(model.len());
                let expected = &model[from..(from + want).min(model.len())];
                prop_assert_eq!(&got[..count], expected);
                // From the chunk that it is in, the same comes of it.
                if let Some((chunk, skip)) = chunks.find(list, Place::from_head(skip)) {
                    let len = chunks.at(chunk).unwrap().content.len();
                    prop_assert!(skip < len || list.tail() == Some(chunk));
                    let near = Place::from_chunk(chunk, skip);
                    prop_assert_eq!(chunks.find(list, near), Some((chunk, skip)));
                    let mut again = vec![0; want];
                    prop_assert_eq!(chunks.copy(list, near, &mut again), count);
                    prop_assert_eq!(again, got);
                }
                chunks.skip(&mut list, skip / 4, &mut pool);
                model.drain(..(usize::try_from(skip / 4).unwrap()).min(model.len()));
            }
            chunks.clear(&mut list, &mut pool);
            prop_assert_eq!(chunks.len(), 0);
        }
    }

    #[test]
    fn frames_past_the_limit_are_copied_and_go_home() {
        let mut pool = FramePool::on_heap(2, 64);
        let mut chunks = Chunks::new(8, 1);
        let mut list = List::EMPTY;
        for copied in [false, true] {
            let mut frame = pool.alloc().unwrap();
            frame.set_window(0, 3);
            frame.data_mut().copy_from_slice(b"abc");
            assert_eq!(chunks.may_keep(&frame), !copied);
            let frame = if copied {
                Chunks::copy_out(frame, &mut pool)
            } else {
                frame
            };
            chunks
                .push_back(&mut list, Content::Frame(frame), Seq(0), false)
                .unwrap();
        }
        assert_eq!((chunks.frames_held(), pool.available()), (1, 1));
        let mut out = [0; 6];
        let front = Place::from_head(0);
        assert_eq!(chunks.copy(list, front, &mut out), 6);
        assert_eq!(&out, b"abcabc");
        chunks.clear(&mut list, &mut pool);
        assert_eq!((chunks.frames_held(), pool.available()), (0, 2));
    }
}
