// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Steers frames: what belongs to the engine goes to the AF_XDP socket of the
// queue that it arrived on, all else goes on to the kernel.
//
//   owned whole address   ARP and ND for it, ICMP and TCP to it
//   owned port ranges     TCP to those ports; the kernel keeps the address
//
// It decides, counts and changes nothing. It refuses to look behind a VLAN tag
// or an IPv6 extension header: those frames are the kernel's. A tag that the
// device took out of the frame before (`ethtool -k IF`, rx-vlan-offload) can't
// be seen here. A later fragment carries no ports (RFC 791, 3.2): it is taken
// for an owned address and passed for an owned port range.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// The kernel's interface (linux/bpf.h), as far as it is used here.
enum { BPF_MAP_TYPE_HASH = 1, BPF_MAP_TYPE_PERCPU_ARRAY = 6, BPF_MAP_TYPE_XSKMAP = 17 };
enum { XDP_PASS = 2, XDP_REDIRECT = 4 };
struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_redirect_map)(void *map, u64 key, u64 flags) = (void *)51;

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define COPY(to, from, count) __builtin_memcpy((to), (from), (count))

// An IPv4 address is written as its IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
struct address { u8 bytes[16]; };

#define RANGES 4
struct owned {
	struct { u16 first, last; } ports[RANGES];  // none: first > last
};

// Ports 0 to 65535 are the address itself, with ARP, ND and ICMP.
#define OWNS_WHOLE(owned) ((owned)->ports[0].first == 0 && (owned)->ports[0].last == 0xffff)

struct {
	int (*type)[BPF_MAP_TYPE_HASH];
	int (*max_entries)[4096];
	struct address *key;
	struct owned *value;
} OWNED SECTION(".maps");

struct {
	int (*type)[BPF_MAP_TYPE_XSKMAP];
	int (*max_entries)[256];
	u32 *key;
	u32 *value;
} SOCKETS SECTION(".maps");

enum verdict { TAKEN, PASSED, UNDELIVERABLE, VERDICTS };
struct {
	int (*type)[BPF_MAP_TYPE_PERCPU_ARRAY];
	int (*max_entries)[VERDICTS];
	u32 *key;
	u64 *value;
} VERDICT_COUNTS SECTION(".maps");

INLINE u16 be16(const u8 *p) { return p[0] << 8 | p[1]; }

INLINE struct address mapped(const u8 *ipv4)
{
	struct address address = { .bytes = { [10] = 0xff, [11] = 0xff } };
	COPY(address.bytes + 12, ipv4, 4);
	return address;
}

INLINE int owns_address(struct address address)
{
	struct owned *owned = bpf_map_lookup_elem(&OWNED, &address);
	return owned && OWNS_WHOLE(owned);
}

// `tcp` may lie past the end (a later fragment, a runt): then no range owns it.
INLINE int owns_segment(struct address address, const u8 *tcp, const u8 *end)
{
	struct owned *owned = bpf_map_lookup_elem(&OWNED, &address);
	if (!owned)
		return 0;
	if (OWNS_WHOLE(owned))
		return 1;
	if (!tcp || tcp + 4 > end)
		return 0;
	u16 port = be16(tcp + 2);
#pragma unroll
	for (int i = 0; i < RANGES; i++)
		if (owned->ports[i].first <= port && port <= owned->ports[i].last)
			return 1;
	return 0;
}

// RFC 826: the target's protocol address. A reply to the engine has it there too.
INLINE int takes_arp(const u8 *arp, const u8 *end)
{
	return arp + 28 <= end && owns_address(mapped(arp + 24));
}

INLINE int takes_ipv4(const u8 *ip, const u8 *end)
{
	if (ip + 20 > end || ip[0] >> 4 != 4)
		return 0;
	u8 protocol = ip[9];
	if (protocol == 1)
		return owns_address(mapped(ip + 16));
	if (protocol != 6)
		return 0;
	int is_later_fragment = be16(ip + 6) & 0x1fff;
	const u8 *tcp = ip + (ip[0] & 0x0f) * 4;
	return owns_segment(mapped(ip + 16), is_later_fragment ? 0 : tcp, end);
}

INLINE int takes_ipv6(const u8 *ip, const u8 *end)
{
	struct address address;
	if (ip + 40 > end)
		return 0;
	COPY(&address, ip + 24, 16);
	if (ip[6] == 6)
		return owns_segment(address, ip + 40, end);
	if (ip[6] != 58)
		return 0;
	// A neighbor solicitation goes to a multicast address (RFC 4861, 4.3): its target counts.
	if (ip + 64 <= end && ip[40] == 135)
		COPY(&address, ip + 48, 16);
	return owns_address(address);
}

INLINE int takes(const u8 *frame, const u8 *end)
{
	if (frame + 14 > end)
		return 0;
	switch (be16(frame + 12)) {
	case 0x0806: return takes_arp(frame + 14, end);
	case 0x0800: return takes_ipv4(frame + 14, end);
	case 0x86dd: return takes_ipv6(frame + 14, end);
	default: return 0;
	}
}

SECTION("xdp") int steer(struct xdp_md *ctx)
{
	u32 verdict = PASSED;
	long action = XDP_PASS;
	if (takes((const u8 *)(u64)ctx->data, (const u8 *)(u64)ctx->data_end)) {
		// Without a socket on this queue the kernel gets the frame.
		action = bpf_redirect_map(&SOCKETS, ctx->rx_queue_index, XDP_PASS);
		verdict = action == XDP_REDIRECT ? TAKEN : UNDELIVERABLE;
	}
	u64 *count = bpf_map_lookup_elem(&VERDICT_COUNTS, &verdict);
	if (count)
		*count += 1;
	return action;
}

char LICENSE[] SECTION("license") = "Dual MIT/GPL";
