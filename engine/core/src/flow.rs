//! STAND-IN
use std::net::Ipv4Addr;
use std::collections::BTreeMap;
/// Key
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey { pub local: Ipv4Addr, pub remote: Ipv4Addr, pub local_port: u16, pub remote_port: u16 }
#[derive(Debug)]
pub struct FlowHasher(siphasher::sip::SipHasher13);
impl FlowHasher {
    pub fn new(key: [u8; 16]) -> Self { Self(siphasher::sip::SipHasher13::new_with_key(&key)) }
    pub fn hash(&self, key: &FlowKey) -> u64 {
        let mut b = [0u8; 12];
        b[..4].copy_from_slice(&key.local.octets()); b[4..8].copy_from_slice(&key.remote.octets());
        b[8..10].copy_from_slice(&key.local_port.to_be_bytes()); b[10..].copy_from_slice(&key.remote_port.to_be_bytes());
        self.0.hash(&b)
    }
}
#[derive(Debug)]
pub struct FlowTable(BTreeMap<u64, Vec<u32>>);
impl FlowTable {
    pub fn with_capacity(_: usize) -> Self { Self(BTreeMap::new()) }
    pub fn find(&self, hash: u64, mut eq: impl FnMut(u32) -> bool) -> Option<u32> { self.0.get(&hash)?.iter().copied().find(|&v| eq(v)) }
    pub fn insert(&mut self, hash: u64, value: u32) { self.0.entry(hash).or_default().push(value) }
    pub fn remove(&mut self, hash: u64, value: u32) -> bool {
        let Some(v) = self.0.get_mut(&hash) else { return false };
        let n = v.len(); v.retain(|&x| x != value); let r = v.len() != n; if v.is_empty() { self.0.remove(&hash); } r }
    pub fn replace(&mut self, hash: u64, old: u32, new: u32) -> bool { let r = self.remove(hash, old); if r { self.insert(hash, new) } r }
    pub fn len(&self) -> usize { self.0.values().map(Vec::len).sum() }
}
