import { keyId } from '../../src/balancing/ids.ts'
import type { SteeringOrder } from '../../src/balancing/operators/steering.ts'
import { seededRandom } from '../balancing/seeded-random.ts'
import { drawFrom } from './draw.ts'
import type { Happening, History } from './history.ts'

const MINUTE_MS = 60_000

/** The same history with operators who pause and drain keys, let them go on, and reset them. */
export function withSteering(history: History): History {
  const draw = drawFrom(seededRandom(history.seed * 6151 + 11))
  const { happenings, pool } = history
  // While something happens: what an operator does at rest is of no consequence.
  const moments = happenings.map(({ atMs }) => atMs)
  const orders = Array.from({ length: draw.int(4, 10) }, (): Happening[] => {
    const aboutMs = draw.of(moments)
    const { id } = draw.of(pool.keys)
    const at = (kind: SteeringOrder['kind'], atMs: number): Happening => {
      return { kind: 'steering', atMs, order: { kind, keyId: keyId(id) } }
    }
    if (draw.chance(0.4)) return [at('reset', aboutMs)]
    const untilMs = aboutMs + draw.int(100, 5 * MINUTE_MS)
    return [at(draw.of(['pause', 'drain']), aboutMs), at('resume', untilMs)]
  })
  const all = [...happenings, ...orders.flat()]
  return { ...history, happenings: all.toSorted((a, b) => a.atMs - b.atMs) }
}
