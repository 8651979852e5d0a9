import { writeSync } from 'node:fs'
import { expect, it } from 'vitest'
import { simulate } from './simulated-seeds.ts'

const SEEDS = 204
const HOURS = 50

/** Every kind of fault has to have happened. */
const MUST_HAPPEN = [
  ...['crash', 'eviction', 'deployment', 'death', 'silence', 'line', 'cron', 'degraded'],
  'lines of batches',
  ...['line: lost', 'line: slow', 'line: repeated', 'writes lost by a crash', 'leases from stock'],
  ...['401', '402', '403 budget', '403 cap', '429', '429 named', '500 of a key', '502', '503'],
  ...['503 of a model', '400', 'hang', 'refused connection', 'cut stream', 'slow stream'],
  ...['answered', 'failed', 'client_gone'],
  ...['order: make_client', 'order: change_client', 'order: remove_client', 'order: reset_budget'],
  ...['order: increase_budget', 'client key: unknown', 'error: client_rate_limited'],
  ...['error: budget_exceeded', 'error: budget_unpriceable', 'priced by the list'],
  ...['told: begin', 'told: end', 'rows written'],
  ...['order: pause', 'order: drain', 'order: resume', 'order: reset'],
]

/** The shown text goes to the log of CI, also when all is well. */
const show = (text: string) => void writeSync(1, text)

/** Seeds that have found something. They are run also when the others are changed. */
const FOUND = [
  ...[190, 1016, 197, 795712087, 795711282, 795711617, 795711766, 795712885, 795712954],
  ...[795713192, 795713454],
]

it.each(FOUND)('seed %i, which has found something, finds nothing any more', async (seed) => {
  const { code, text } = await simulate(['--seed', `${seed}`, '--hours', `${HOURS}`])
  expect(text).toContain('1 seeds')
  expect(code).toBe(0)
})

it('all invariants hold in a virtual year under every fault', async () => {
  const { code, text } = await simulate(['--seeds', `${SEEDS}`, '--hours', `${HOURS}`])
  show(`Simulation: ${text}`)
  expect(text).toMatch(new RegExp(`^${SEEDS} seeds, \\d{5,} virtual hours`))
  expect(code).toBe(0)
  const missing = MUST_HAPPEN.filter((what) => !new RegExp(`(^|, )${what} [1-9]`, 'm').test(text))
  expect(missing).toEqual([])
}, 180_000)

it('and with seeds that nobody has seen', async () => {
  const { code, text } = await simulate(['--fresh', '--seconds', '6', '--hours', `${HOURS}`])
  show(`Simulation, fresh: ${text}`)
  expect(text).toContain(' virtual hours')
  expect(code).toBe(0)
}, 120_000)
