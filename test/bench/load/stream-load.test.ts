import { describe, expect, it } from 'vitest'
import { eventChunk } from '../upstream/answers.ts'
import { EventClock } from './stream-load.ts'

describe('an event clock', () => {
  it.each([1, 5, 100, 10_000])('finds each time in pieces of %i bytes', (size) => {
    const bytes = Buffer.from(eventChunk('1') + eventChunk('1') + eventChunk('1'))
    const delaysUs: number[] = []
    const clock = new EventClock((writtenUs, readUs) => delaysUs.push(readUs - writtenUs))
    for (let i = 0; i < bytes.length; i += size) clock.push(bytes.subarray(i, i + size))
    expect(delaysUs).toHaveLength(3)
    for (const delayUs of delaysUs) {
      expect(delayUs).toBeGreaterThanOrEqual(0)
      expect(delayUs).toBeLessThan(10_000_000)
    }
  })
})
