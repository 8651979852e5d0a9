import { describe, expect, it } from 'vitest'
import {
  createRotatingMap,
  deleteEntry,
  entriesOf,
  getEntry,
  keepEntry,
  setEntry,
} from '../../../src/balancing/limits/rotating-map.ts'

const T = 1_800_000_000_000
const TERM = 1_000

/** A map whose first entry was set at `T`. */
function begun(capacity = 100) {
  const map = createRotatingMap<string, number>({ termMs: TERM, capacity })
  setEntry(map, 'first', 1, T)
  return map
}

describe('a map that forgets', () => {
  it('remembers an entry for one term at least, and for two at most', () => {
    const map = begun()
    setEntry(map, 'second', 2, T + TERM - 1)
    setEntry(map, 'third', 3, T + TERM)
    expect(getEntry(map, 'first')).toBe(1)
    setEntry(map, 'fourth', 4, T + 2 * TERM - 1)
    expect(getEntry(map, 'first')).toBe(1)
    setEntry(map, 'fifth', 5, T + 2 * TERM)
    expect(['first', 'second', 'third', 'fifth'].map((key) => getEntry(map, key))).toEqual([
      undefined,
      undefined,
      3,
      5,
    ])
  })

  it('holds as many as its capacity at least, and twice as many at most', () => {
    const map = createRotatingMap<number, number>({ termMs: TERM, capacity: 3 })
    for (let key = 1; key <= 6; key++) setEntry(map, key, key, T)
    expect(entriesOf(map).map(([key]) => key)).toEqual([1, 2, 3, 4, 5, 6])
    setEntry(map, 7, 7, T)
    expect(entriesOf(map).map(([key]) => key)).toEqual([4, 5, 6, 7])
  })

  it('has the newer value of a key that was set in both generations, once', () => {
    const map = begun(1)
    setEntry(map, 'first', 2, T)
    expect(getEntry(map, 'first')).toBe(2)
    expect(entriesOf(map)).toEqual([['first', 2]])
  })

  it('tells of values that are nothing, too', () => {
    const map = createRotatingMap<string, number | null>({ termMs: TERM, capacity: 1 })
    setEntry(map, 'a', 1, T)
    setEntry(map, 'a', null, T)
    expect(getEntry(map, 'a')).toBeNull()
  })

  it('deletes an entry from both generations', () => {
    const map = begun(1)
    setEntry(map, 'first', 2, T)
    deleteEntry(map, 'first')
    expect(getEntry(map, 'first')).toBeUndefined()
    setEntry(map, 'old', 3, T)
    setEntry(map, 'young', 4, T)
    deleteEntry(map, 'old')
    expect(entriesOf(map)).toEqual([['young', 4]])
  })

  it('keeps what is touched, and forgets what is not, however long nothing new comes', () => {
    const map = begun()
    setEntry(map, 'other', 2, T)
    const never = () => Number.NaN
    for (let ms = 1; ms <= 3 * TERM; ms += 100) {
      expect(keepEntry(map, 'first', never, T + ms)).toBe(1)
    }
    expect(entriesOf(map)).toEqual([['first', 1]])
    expect(keepEntry(map, 'new', () => 3, T + 3 * TERM)).toBe(3)
    expect(getEntry(map, 'new')).toBe(3)
  })
})
