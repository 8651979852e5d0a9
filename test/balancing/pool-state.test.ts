import { expect, it } from 'vitest'
import { drivePool } from './pool-driver.ts'

it('the limits of tokens that keys have are known, each once, the least first', () => {
  const tpms = [300, 90, null, 2_000, 90]
  const { state } = drivePool(tpms.map((tpm, i) => ({ id: `key-${i}`, tpm })))
  expect(state.tokenLimits).toEqual([90, 300, 2_000])
})
