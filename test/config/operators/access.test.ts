import { expect, it } from 'vitest'
import { configOf, faultsOf } from '../environment.ts'

const AUD = '0123456789abcdef'.repeat(4)

it('Access is there with its team and its audience, and off without both', async () => {
  const { access } = await configOf({ ACCESS_TEAM: 'acme', ACCESS_AUD: AUD })
  expect(access).toEqual({ issuer: 'https://acme.cloudflareaccess.com', audience: AUD })
  expect((await configOf({ ACCESS_TEAM: '', ACCESS_AUD: ' ' })).access).toBeNull()
  expect((await configOf({})).access).toBeNull()
})

it.each([
  [{ ACCESS_TEAM: 'acme' }, 'ACCESS_AUD: must be set too'],
  [{ ACCESS_AUD: AUD }, 'ACCESS_TEAM: must be set too'],
  [{ ACCESS_TEAM: 'acme.cloudflareaccess.com', ACCESS_AUD: AUD }, 'ACCESS_TEAM: must be the team'],
  [{ ACCESS_TEAM: 'evil.example/#', ACCESS_AUD: AUD }, 'ACCESS_TEAM: must be the team'],
  [{ ACCESS_TEAM: 7, ACCESS_AUD: AUD }, 'ACCESS_TEAM: must be the team'],
  [{ ACCESS_TEAM: 'acme', ACCESS_AUD: `${AUD}0` }, 'ACCESS_AUD: must be the application'],
  [{ ACCESS_TEAM: 'acme', ACCESS_AUD: [AUD] }, 'ACCESS_AUD: must be the application'],
])('%j is a fault', async (env, message) => {
  const faults = await faultsOf(env)
  expect(faults).toHaveLength(1)
  expect(faults[0]).toContain(message)
})

it('with Access, clients can be made at run time, so none need be configured', async () => {
  const env = { CLIENT_KEYS: '', ADMIN_TOKEN: '' }
  expect(await faultsOf(env)).toHaveLength(1)
  expect(await faultsOf({ ...env, ACCESS_TEAM: 'acme', ACCESS_AUD: AUD })).toEqual([])
})
