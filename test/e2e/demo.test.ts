import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { runDemo } from '../local/demo-run.ts'

/** Where a process writes the host of each connection that it opens. */
const SPY = `
const { Socket } = require('node:net')
const { appendFileSync } = require('node:fs')
const { connect } = Socket.prototype
Socket.prototype.connect = function (...args) {
  const [options] = Array.isArray(args[0]) ? args[0] : args
  appendFileSync(process.env.CONNECTIONS, String(options.host ?? options.path ?? options) + '\\n')
  return connect.apply(this, args)
}`

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'switchyard-demo-test-'))
  const spy = join(folder, 'spy.cjs')
  writeFileSync(spy, SPY)
  writeFileSync(join(folder, 'connections'), '')
  // For the processes that the demo starts. Wrangler remembers in TMPDIR what it has asked.
  vi.stubEnv('NODE_OPTIONS', `--require ${spy}`)
  vi.stubEnv('CONNECTIONS', join(folder, 'connections'))
  vi.stubEnv('TMPDIR', folder)
})
afterAll(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true, force: true })
})

it('the demo’s clients notice nothing but what no gateway can hide', {
  timeout: 90_000,
}, async () => {
  const result = await runDemo({ requests: 150, concurrency: 12 })
  expect(result.surprises).toEqual([])
  expect(result.answered + result.failures.length).toBe(150)
  expect(result.failures.every(({ unavoidable }) => unavoidable)).toBe(true)
  // The demo's faults happened, and requests succeeded in spite of them.
  expect(result.rescued).toBeGreaterThan(0)
  expect(result.keys.filter(({ refusals }) => refusals.length > 0).length).toBeGreaterThan(1)
})

it('nothing of it asks anybody outside of this machine, such as a registry', () => {
  const hosts = new Set(readFileSync(join(folder, 'connections'), 'utf8').trim().split('\n'))
  expect(hosts.size).toBeGreaterThan(0)
  expect([...hosts].filter((host) => !/^(localhost|127\.0\.0\.1|::1?|\/.*)$/.test(host))).toEqual(
    [],
  )
})
