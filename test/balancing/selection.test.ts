import { expect, it } from 'vitest'
import { modelId } from '../../src/balancing/ids.ts'
import { modelsInOrder } from '../../src/balancing/selection.ts'
import { drivePool } from './pool-driver.ts'

const MODELS = ['first', 'second', 'third'].map(modelId)

it.each([
  ['in their order', 'first', [], [0, 1, 2]],
  ['those last that are benched', 'first', [0], [1, 2, 0]],
  ['those too, in their order', 'move', [0, 1], [2, 0, 1]],
  ['all of them, if all are', 'first', [0, 1, 2], [0, 1, 2]],
  ['for a retry its own model before all', 'retry', [0], [0, 1, 2]],
  ['for a retry other models as ever', 'retry', [0, 1], [0, 2, 1]],
] as const)('models are looked at %s', (_, attempt, benched, order) => {
  const { state, now, ...pool } = drivePool(['a'])
  const term = { kind: 'for', forMs: 60_000 } as const
  for (const at of benched) {
    const lease = pool.grant({ model: MODELS[at] ?? '' })
    pool.shrug(lease, { scope: 'model', reason: 'account_rate_limited', term })
  }
  const [one, ...more] = MODELS
  if (one === undefined) throw new Error('no model')
  const names = modelsInOrder({ state, nowMs: now() }, { models: [one, ...more], attempt })
  expect(names).toEqual(order.map((at) => MODELS[at]))
})
