import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it, onTestFinished } from 'vitest'
import { repositoryPath } from '../local/wrangler-dev.ts'

/** Counted and not timed: whatever else runs on the machine, these figures are the same. */
it('counts object calls and rows of the bundled Worker in raw workerd', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'switchyard-test-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const reportPath = join(folder, 'report.json')
  const args = ['test/bench/main.ts', '--only', 'counts', '--quick', '--json', reportPath]
  await promisify(execFile)(process.execPath, args, { cwd: repositoryPath })
  const { parts } = JSON.parse(await readFile(reportPath, 'utf8'))
  expect(parts.counts).toMatchObject([
    { load: 'no faults', failures: 0 },
    { load: '1 % upstream faults', failures: 0 },
    { load: 'one client, limits and budgets', failures: 0 },
  ])
  for (const { requests, objectCallsPerRequest } of parts.counts) {
    expect(requests).toBeGreaterThan(0)
    expect(objectCallsPerRequest).toBeGreaterThan(0)
  }
})
