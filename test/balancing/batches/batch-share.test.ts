import { describe, expect, it } from 'vitest'
import {
  type BatchLimited,
  batchWindowsAtMs,
  chargeBatch,
  createBatchUse,
  giveBackBatch,
  hasBatchRoom,
  interactivePart,
  leasesOfShare,
} from '../../../src/balancing/batches/batch-share.ts'
import { charge } from '../../../src/balancing/limits/charge.ts'
import { createMeter } from '../../../src/balancing/limits/meter.ts'

const NOW = 1_000_000

const limited = (rpm: number | null, tpm: number | null, maxConcurrent: number | null = null) =>
  ({
    config: { maxConcurrent },
    rpm: createMeter(rpm),
    tpm: createMeter(tpm),
    batch: createBatchUse(),
  }) satisfies BatchLimited

describe('of a half, batches may have', () => {
  it.each([
    [10, 5],
    [3, 1],
    [1, 1],
    [null, 32],
  ])('of a max_concurrent of %s as many as %s', (maxConcurrent, most) => {
    expect(leasesOfShare(maxConcurrent, 0.5)).toBe(most)
  })

  it.each<[string, number | null, number | null, number, number]>([
    ['no limit', null, null, 10_000, NOW],
    ['half of the requests', 2, null, 10, NOW + 60_000],
    ['one request at least', 1, null, 10, NOW + 60_000],
    ['half of the tokens', null, 100, 41, NOW + 60_000],
    ['and no less', null, 100, 40, NOW],
    ['a request that is larger than the half, alone', null, 100, 60, NOW + 60_000],
  ])('%s', (_, rpm, tpm, tokens, atMs) => {
    const key = limited(rpm, tpm)
    chargeBatch(key, 10, NOW)
    expect(hasBatchRoom(key, 0.5, tokens, NOW)).toBe(atMs === NOW)
    expect(batchWindowsAtMs(key, 0.5, tokens, NOW)).toBe(atMs)
  })
})

it('what was charged for a batch is given back, and nothing else', () => {
  const key = limited(10, 100)
  chargeBatch(key, 10, NOW)
  chargeBatch(key, 20, NOW)
  giveBackBatch(key, 10, NOW, NOW)
  expect([key.batch.rpm.total, key.batch.tpm.total]).toEqual([1, 20])
})

it('of a limit that a key has not, nothing is noted', () => {
  const key = limited(null, null)
  chargeBatch(key, 10, NOW)
  expect([key.batch.rpm.total, key.batch.tpm.total]).toEqual([0, 0])
})

it('what batches have taken is no part of what interactive requests may have', () => {
  const key = { ...limited(10, 100), tooLarge: null }
  for (const tokens of [10, 20]) charge(key, tokens, NOW)
  chargeBatch(key, 20, NOW)
  const parts = [
    key.rpm && interactivePart(key.rpm, key.batch.rpm, NOW),
    key.tpm && interactivePart(key.tpm, key.batch.tpm, NOW),
  ]
  expect(parts).toEqual([
    { taken: 1, limit: 9 },
    { taken: 10, limit: 80 },
  ])
})
