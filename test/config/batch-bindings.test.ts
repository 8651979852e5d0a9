import { expect, it } from 'vitest'
import { BATCH_BINDINGS } from '../../src/config/config.ts'
import { faultsOf } from './environment.ts'

const bound = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, {}]))

it('batches are switched on by all bindings, off by none, and by some it is a fault', async () => {
  expect(await faultsOf(bound(BATCH_BINDINGS))).toEqual([])
  expect(await faultsOf({})).toEqual([])
  expect(await faultsOf(bound(['FILES', 'FILE_LISTS', 'BATCHES']))).toEqual([
    'BATCH_LINES, DEAD_LINES: batches are half switched on, by FILES, BATCHES, FILE_LISTS; ' +
      'add the rest of docs/batches.toml to wrangler.toml, or take it all out',
  ])
})
