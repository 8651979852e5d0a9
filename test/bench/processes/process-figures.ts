import { readdirSync, readFileSync } from 'node:fs'

/** The kernel counts a process's time in hundredths of a second on every platform that Node has. */
const TICK_MS = 10

/** Processor time of `/proc/PID/task/TID/schedstat` in milliseconds: its first number, in nanoseconds. */
export function cpuMsOfSchedstat(text: string): number {
  return Number(text.split(' ')[0]) / 1e6
}

/**
 * Processor time of `/proc/PID/stat` in milliseconds, of user and system. The name of the program
 * stands in brackets and may hold anything, blanks and brackets too.
 */
export function cpuMsOfStat(text: string): number {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS
}

/** A size of `/proc/PID/status`, in MiB; NaN where it is not told. */
export function memoryMibOfStatus(text: string, field: 'VmRSS' | 'VmHWM'): number {
  const [, kib] = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text) ?? []
  return Number(kib ?? Number.NaN) / 1024
}

/**
 * Processor time that a process has used so far, in milliseconds; NaN where the platform has no
 * `/proc`. By thread where possible, since that is counted in nanoseconds.
 */
export function cpuMs(pid: number): number {
  return attempt(() => cpuMsOfThreads(pid)) ?? attempt(() => cpuMsOfProcess(pid)) ?? Number.NaN
}

/** The most memory that a process has ever held at once, in MiB; NaN where there is no `/proc`. */
export function peakMemoryMib(pid: number): number {
  const status = () => readFileSync(`/proc/${pid}/status`, 'utf8')
  return attempt(() => memoryMibOfStatus(status(), 'VmHWM')) ?? Number.NaN
}

/** The memory that a process holds now, in MiB; NaN where there is no `/proc`. */
export function memoryMib(pid: number): number {
  const status = () => readFileSync(`/proc/${pid}/status`, 'utf8')
  return attempt(() => memoryMibOfStatus(status(), 'VmRSS')) ?? Number.NaN
}

function cpuMsOfThreads(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`)
  return threads.reduce(
    (total, thread) =>
      total + cpuMsOfSchedstat(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')),
    0,
  )
}

function cpuMsOfProcess(pid: number): number {
  return cpuMsOfStat(readFileSync(`/proc/${pid}/stat`, 'utf8'))
}

function attempt<T>(read: () => T): T | null {
  try {
    return read()
  } catch {
    return null
  }
}
