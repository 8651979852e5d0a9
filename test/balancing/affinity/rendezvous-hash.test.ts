import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { hash32, rendezvousWinner } from '../../../src/balancing/affinity/rendezvous-hash.ts'

interface Node {
  readonly id: string
  readonly weight: number
}

const nodes = (...weights: number[]): Node[] =>
  weights.map((weight, i) => ({ id: `node-${i}`, weight }))

const equal = (count: number) => nodes(...Array.from({ length: count }, () => 1))

const IDS = Array.from({ length: 20_000 }, (_, i) => `conversation-${i}`)

/** The nodes in the order in which they win an id: each is the winner once those before it are gone. */
function byRendezvous(id: string, among: readonly Node[]): Node[] {
  const left = among.map((node) => ({ node, weight: node.weight, hash: hash32(node.id) }))
  const ranked: Node[] = []
  while (left.length > 0) {
    const winner = rendezvousWinner(hash32(id), left)
    if (winner === null) break
    ranked.push(winner.node)
    left.splice(left.indexOf(winner), 1)
  }
  return ranked
}

const winnerOf = (id: string, among: readonly Node[]) => byRendezvous(id, among)[0]?.id ?? ''

function sharesOf(ids: readonly string[], among: readonly Node[], place = 0): number[] {
  const wins = new Map(among.map(({ id }) => [id, 0]))
  for (const id of ids) {
    const winner = byRendezvous(id, among)[place]?.id ?? ''
    wins.set(winner, (wins.get(winner) ?? 0) + 1)
  }
  return [...wins.values()]
}

/** Five standard deviations of a binomial distribution. Chance exceeds them once in a million. */
const slackOf = (count: number, share: number) => 5 * Math.sqrt(count * share * (1 - share))

describe('rendezvous hashing', () => {
  it.each([2, 3, 5, 12])('spreads ids evenly over %d nodes', (count) => {
    const slack = slackOf(IDS.length, 1 / count)
    for (const share of sharesOf(IDS, equal(count))) {
      expect(Math.abs(share - IDS.length / count)).toBeLessThan(slack)
    }
  })

  it.each([
    ['differ in their last letters', (i: number) => `session-${i}`],
    ['differ in their first letters', (i: number) => `${i}-session`],
    ['are very short', (i: number) => String.fromCharCode(32 + (i % 95)) + (i % 211)],
    ['are long', (i: number) => `${'talk '.repeat(40)}${i}`],
    ['are in no Latin script', (i: number) => `会話${i}`],
  ])('spreads ids evenly that %s', (_, idOf) => {
    const ids = [...new Set(Array.from({ length: 8_000 }, (_, i) => idOf(i)))]
    const slack = slackOf(ids.length, 0.25)
    for (const share of sharesOf(ids, equal(4))) {
      expect(Math.abs(share - ids.length / 4)).toBeLessThan(slack)
    }
  })

  it('spreads ids evenly over nodes whose names are alike', () => {
    const among = ['acme', 'acme2', 'Acme', 'acme-'].map((id) => ({ id, weight: 1 }))
    for (const share of sharesOf(IDS, among)) {
      expect(Math.abs(share - IDS.length / 4)).toBeLessThan(slackOf(IDS.length, 0.25))
    }
  })

  it('gives each node its share of the weights', () => {
    const weights = [1, 2, 3, 14]
    const shares = sharesOf(IDS, nodes(...weights))
    for (const [i, weight] of weights.entries()) {
      const share = weight / 20
      const off = Math.abs((shares[i] ?? 0) - IDS.length * share)
      expect(off).toBeLessThan(slackOf(IDS.length, share))
    }
  })

  it('spreads what a node leaves behind evenly over the others', () => {
    const all = equal(4)
    const orphans = IDS.filter((id) => winnerOf(id, all) === 'node-0')
    const shares = sharesOf(orphans, all, 1).slice(1)
    for (const share of shares) {
      expect(Math.abs(share - orphans.length / 3)).toBeLessThan(slackOf(orphans.length, 1 / 3))
    }
  })

  it('leaves all ids in their place but those of a node that goes, and brings them back to it', () => {
    const all = nodes(1, 3, 2, 1, 5)
    for (const id of IDS.slice(0, 2_000)) {
      const [first, second] = byRendezvous(id, all)
      for (const gone of all) {
        const rest = all.filter((node) => node !== gone)
        expect(winnerOf(id, rest)).toBe(first === gone ? second?.id : first?.id)
      }
    }
  })

  it('moves ids only to a node that gains weight', () => {
    const before = nodes(1, 1, 1)
    const after = nodes(1, 2, 1)
    const moved = IDS.slice(0, 4_000).filter((id) => winnerOf(id, before) !== winnerOf(id, after))
    expect(moved.length).toBeGreaterThan(0)
    expect(new Set(moved.map((id) => winnerOf(id, after)))).toEqual(new Set(['node-1']))
  })

  it('does not depend on the order in which nodes are listed, and loses none', () => {
    fc.assert(
      fc.property(
        fc.string(),
        fc.uniqueArray(fc.record({ id: fc.string(), weight: fc.integer({ min: 1, max: 1000 }) }), {
          selector: ({ id }) => id,
          maxLength: 12,
        }),
        (id, among) => {
          const ranked = byRendezvous(id, among)
          expect(new Set(ranked)).toEqual(new Set(among))
          expect(ranked).toHaveLength(among.length)
          const again = byRendezvous(id, among.toReversed())
          expect(again.map(({ id }) => id)).toEqual(ranked.map(({ id }) => id))
        },
      ),
    )
  })

  it('ranks no nodes as none', () => {
    expect(byRendezvous('talk', [])).toEqual([])
  })
})
