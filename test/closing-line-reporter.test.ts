import { expect, it } from 'vitest'
import { type CountedModule, tally } from './closing-line-reporter.ts'

function module(states: string[], state = 'passed', errors: unknown[] = []): CountedModule {
  const tests = states.map((testState) => ({ result: () => ({ state: testState }) }))
  return { state: () => state, errors: () => errors, children: { allTests: () => tests } }
}

it('counts passed and failed tests over all files, and skipped ones as neither', () => {
  const modules = [module(['passed', 'failed', 'skipped'], 'failed'), module(['passed'])]
  expect(tally(modules, [], 'failed')).toEqual({ passed: 2, failed: 1 })
})

it('counts a file that could not be loaded as a failure', () => {
  const modules = [module(['passed']), module([], 'failed', [new Error('no such module')])]
  expect(tally(modules, [], 'failed')).toEqual({ passed: 1, failed: 1 })
})

it('counts a file whose hook threw and left its tests skipped as a failure', () => {
  expect(tally([module(['passed']), module(['skipped'], 'failed')], [], 'failed').failed).toBe(1)
})

it('counts an error outside any test as a failure', () => {
  expect(tally([module(['passed'])], [new Error('unhandled')], 'passed').failed).toBe(1)
})

it('counts tests that an interrupted run never reached as failures', () => {
  expect(tally([module(['passed', 'pending'])], [], 'interrupted').failed).toBe(1)
  expect(tally([module(['passed'])], [], 'interrupted').failed).toBe(1)
})

it('does not call a run green in which no test passed', () => {
  expect(tally([], [], 'passed').failed).toBe(1)
  expect(tally([module(['skipped'])], [], 'passed').failed).toBe(1)
})
