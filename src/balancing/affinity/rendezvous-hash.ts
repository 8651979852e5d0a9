/**
 * Rendezvous hashing, also called highest random weight (Thaler and Ravishankar, 1998). Every node
 * draws a pseudo-random number for an id, and the highest number wins. If a node comes or goes,
 * only the ids that it wins move. There is no ring to keep, and each isolate and each restart
 * computes the same result.
 *
 * Weights work as in Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005): a
 * node's share of the ids is its share of the weights.
 *
 * @returns the nodes, the winner first
 */
export function byRendezvous<T extends { readonly id: string; readonly weight: number }>(
  id: string,
  nodes: readonly T[],
): T[] {
  return nodes
    .map((node) => ({ node, drawn: -node.weight / Math.log(uniform(`${id}\n${node.id}`)) }))
    .sort((a, b) => b.drawn - a.drawn)
    .map(({ node }) => node)
}

/** A number above 0 and below 1, evenly spread, the same for the same text. */
function uniform(text: string): number {
  return (hash32(text) + 0.5) / 2 ** 32
}

/**
 * FNV-1a over the UTF-16 units, with MurmurHash3's finalizer. FNV alone gives close numbers to
 * texts that differ only in their last letters. No secret depends on this hash.
 */
function hash32(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}
