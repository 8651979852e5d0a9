/**
 * Rendezvous hashing, also called highest random weight (Thaler and Ravishankar, 1998). Every node
 * draws a pseudo-random number for an id, and the highest number wins. If a node comes or goes,
 * only the ids that it wins move. There is no ring to keep, and each isolate and each restart
 * computes the same result.
 *
 * Weights work as in Schindelhauer and Schomaker, "Weighted distributed hash tables" (2005): a
 * node's share of the ids is its share of the weights.
 */
export interface RendezvousNode {
  /** `hash32` of the node's name: it is computed once, not for each id. */
  readonly hash: number
  readonly weight: number
}

/**
 * The node that wins an id, among those that are accepted; null if none is. One pass, without a
 * logarithm for most nodes: a node needs one only if its number may be the highest so far.
 * @param id `hash32` of the id
 */
export function rendezvousWinner<T extends RendezvousNode>(
  id: number,
  nodes: readonly T[],
  accepts: (node: T) => boolean = () => true,
): T | null {
  let winner: T | null = null
  let highest = 0
  let weight = 0
  let least = 0
  for (let i = 0; i < nodes.length; i++) {
    const node = nodes[i] as T
    const number = uniform(id, node.hash)
    if (node.weight !== weight) {
      weight = node.weight
      least = Math.exp(-weight / highest)
    }
    if (number < least || !accepts(node)) continue
    highest = -weight / Math.log(number)
    least = number
    winner = node
  }
  return winner
}

/** A number above 0 and below 1, evenly spread over ids and nodes, the same for the same two. */
function uniform(id: number, node: number): number {
  return (mix(mix(id ^ node) + Math.imul(node, 0x9e3779b1)) + 0.5) / 2 ** 32
}

/** MurmurHash3's finalizer. */
function mix(value: number): number {
  let hash = Math.imul(value ^ (value >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/**
 * FNV-1a over the UTF-16 units, with MurmurHash3's finalizer. FNV alone gives close numbers to
 * texts that differ only in their last letters. No secret depends on this hash.
 */
export function hash32(text: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  }
  return mix(hash)
}
