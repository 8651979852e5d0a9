import { expect, it } from 'vitest'
import {
  bookCache,
  createCacheBook,
  NO_CACHE_COUNTERS,
  readCache,
} from '../../../src/balancing/accounting/cache-counters.ts'
import {
  createOutbox,
  type Outbox,
  oweCache,
  putBack,
  takeParcel,
} from '../../../src/gateway/leases/outbox.ts'

const T = Date.UTC(2026, 0, 31, 12)
const DAY_MS = 24 * 3_600_000
const of = (counted: object) => ({ ...NO_CACHE_COUNTERS, ...counted })

/** An isolate that counts, and the pool that it tells. */
function counting() {
  const outbox: Outbox = createOutbox()
  const book = createCacheBook()
  let marks = 0
  const arrive = (notes: ReturnType<typeof takeParcel>['cache'], nowMs: number) => {
    for (const { item } of notes) bookCache(book, item, nowMs)
  }
  return {
    outbox,
    arrive,
    count: (counted: object) => oweCache(outbox, counted, () => `one:${++marks}`, T),
    read: (nowMs = T) => readCache(book, nowMs),
  }
}

it('whatever is counted between two exchanges is one note', () => {
  const { outbox, count, arrive, read } = counting()
  count({ misses: 1, keptBytes: 10 })
  for (let i = 0; i < 1_000; i++) count({ hits: 1, savedUsd: 0.5 })
  const { cache } = takeParcel(outbox, T)
  expect(cache).toHaveLength(1)
  arrive(cache, T)
  expect(read().total).toEqual(of({ misses: 1, hits: 1_000, keptBytes: 10, savedUsd: 500 }))
})

it('a note whose reply was lost is told again, and counted once', () => {
  const { outbox, count, arrive, read } = counting()
  count({ hits: 1 })
  const lost = takeParcel(outbox, T)
  arrive(lost.cache, T)
  putBack(outbox, lost, true, T)
  // What is counted since must not go under the mark of what has arrived.
  count({ joins: 1 })
  arrive(takeParcel(outbox, T).cache, T)
  expect(read().total).toEqual(of({ hits: 1, joins: 1 }))
})

it('a day ends at midnight UTC, whether or not anything is counted after it', () => {
  const { outbox, count, arrive, read } = counting()
  count({ bypasses: 2 })
  arrive(takeParcel(outbox, T).cache, T)
  expect(read(T + DAY_MS)).toEqual({ total: of({ bypasses: 2 }), today: NO_CACHE_COUNTERS })
  count({ hits: 1 })
  arrive(takeParcel(outbox, T).cache, T + DAY_MS)
  const later = { total: of({ bypasses: 2, hits: 1 }), today: of({ hits: 1 }) }
  expect(read(T + DAY_MS)).toEqual(later)
})
