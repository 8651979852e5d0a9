import { describe, expect, it } from 'vitest'
import { isolateId } from '../../../src/balancing/ids.ts'
import {
  createIsolates,
  forgive,
  hear,
  SILENCE_MS,
  takeSilent,
} from '../../../src/balancing/limits/isolates.ts'

const A = isolateId('a')
const B = isolateId('b')

describe('an isolate', () => {
  it('is silent SILENCE_MS after it was heard, and not a millisecond sooner', () => {
    const isolates = createIsolates()
    hear(isolates, A, 1_000)
    expect(takeSilent(isolates, 1_000 + SILENCE_MS - 1)).toBeNull()
    expect(takeSilent(isolates, 1_000 + SILENCE_MS)).toEqual(new Set([A]))
    expect(takeSilent(isolates, 1_000_000)).toBeNull()
  })

  it('is not silent when it was heard again, and its first sign alone ends nothing', () => {
    const isolates = createIsolates()
    hear(isolates, A, 0)
    hear(isolates, A, 1_000)
    expect(takeSilent(isolates, SILENCE_MS)).toBeNull()
    expect(takeSilent(isolates, 1_000 + SILENCE_MS - 1)).toBeNull()
    expect(takeSilent(isolates, 1_000 + SILENCE_MS)).toEqual(new Set([A]))
  })

  it('falls silent at its own time, whoever fell silent before it', () => {
    const isolates = createIsolates()
    hear(isolates, A, 0)
    hear(isolates, B, 1_000)
    expect(takeSilent(isolates, SILENCE_MS)).toEqual(new Set([A]))
    expect([...isolates.heardAtMs.keys()]).toEqual([B])
    expect(takeSilent(isolates, 1_000 + SILENCE_MS - 1)).toBeNull()
    expect(takeSilent(isolates, 1_000 + SILENCE_MS)).toEqual(new Set([B]))
    expect(isolates.heardAtMs.size).toBe(0)
  })

  it('is forgiven the time in which the object stood still', () => {
    const isolates = createIsolates()
    hear(isolates, A, 0)
    hear(isolates, B, 1_000)
    forgive(isolates, 5_000, 6_000)
    expect(takeSilent(isolates, 5_000 + SILENCE_MS - 1)).toBeNull()
    expect(takeSilent(isolates, 5_000 + SILENCE_MS)).toEqual(new Set([A]))
    expect(takeSilent(isolates, 6_000 + SILENCE_MS)).toEqual(new Set([B]))
  })

  it('is not heard in the future, however long the object stood still', () => {
    const isolates = createIsolates()
    hear(isolates, A, 900)
    forgive(isolates, 5_000, 1_000)
    hear(isolates, B, 1_000)
    expect(takeSilent(isolates, 1_000 + SILENCE_MS)).toEqual(new Set([A, B]))
  })
})
