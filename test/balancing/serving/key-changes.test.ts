import { expect, it } from 'vitest'
import { keyId } from '../../../src/balancing/ids.ts'
import { noteChange, noteReport } from '../../../src/balancing/serving/key-changes.ts'
import { drivePool, type Setup } from '../pool-driver.ts'

/** A pool of which one key is full, and somebody waits for it. */
function waitedFor(setup: Setup = {}) {
  const pool = drivePool(
    [
      { id: 'full', maxConcurrent: 1, tags: ['small'] },
      { id: 'a', account: 'acme' },
      { id: 'b', account: 'acme' },
      'c',
    ],
    { routes: [{ models: ['small/*'], keys: ['tag:small'] }], ...setup },
  )
  pool.grant({ model: 'small/model' })
  pool.trip('c')
  pool.waiting({ model: 'small/model' })
  const { queue } = pool.state
  queue.changed.clear()
  return { pool, queue, changed: () => [...queue.changed].toSorted() }
}

it('a key that has changed is looked at for those who wait, and those that lacked the cost of what runs', () => {
  const { pool, queue, changed } = waitedFor()
  queue.overspent.add(keyId('b'))
  noteChange(pool.state, pool.key('a'))
  expect(changed()).toEqual(['a', 'b'])
  expect(queue.overspent.size).toBe(0)
})

it('in a pool with panic, so are the keys whose breakers are not closed', () => {
  const { pool, changed } = waitedFor({ panicRatio: 0.1 })
  noteChange(pool.state, null)
  expect(changed()).toEqual(['c'])
})

it('a report is of all keys of an account', () => {
  const { pool, queue, changed } = waitedFor()
  queue.overspent.add(keyId('c'))
  noteReport(pool.state, pool.key('a'))
  expect(changed()).toEqual(['a', 'b', 'c'])
})

it('a retry that waits for its payment may be paid from the moment to which the budget is reckoned', () => {
  const { pool, queue } = waitedFor()
  queue.paidAtMs = Number.POSITIVE_INFINITY
  noteChange(pool.state, null)
  expect(queue.paidAtMs).toBe(Number.POSITIVE_INFINITY)
  queue.unpaid.add('a lane')
  noteChange(pool.state, null)
  expect(queue.paidAtMs).toBe(pool.state.retryBudget.ceiling.atMs)
})

it('nothing is noted while nobody waits', () => {
  const pool = drivePool(['a'], { panicRatio: 0.5 })
  pool.trip('a')
  noteChange(pool.state, pool.key('a'))
  noteReport(pool.state, pool.key('a'))
  expect(pool.state.queue.changed.size).toBe(0)
})
