import { describe, expect, it } from 'vitest'
import { cpuMsOfSchedstat, cpuMsOfStat, memoryMibOfStatus } from './process-figures.ts'

describe('figures of a process', () => {
  it('are read from a thread in nanoseconds', () => {
    expect(cpuMsOfSchedstat('3987669 18769276 2\n')).toBeCloseTo(3.987669)
  })

  it('are read from a process in ticks, whatever its name holds', () => {
    const text = '6742 (a) b (c) S 1 6742 6742 0 -1 4194304 100 0 0 0 25 17 0 0 20 0 1 0 4242 9'
    expect(cpuMsOfStat(text)).toBe(420)
  })

  it('tell of memory in MiB', () => {
    const text = 'Name:\tworkerd\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n'
    expect(memoryMibOfStatus(text, 'VmHWM')).toBe(200)
    expect(memoryMibOfStatus(text, 'VmRSS')).toBe(100)
    expect(memoryMibOfStatus('Name:\tworkerd\n', 'VmRSS')).toBeNaN()
  })
})
