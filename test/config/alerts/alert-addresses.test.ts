import { describe, expect, it } from 'vitest'
import { configOf, faultsOf } from '../environment.ts'

const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`
const OTHER = `whsec_${Buffer.alloc(24, 9).toString('base64')}`
const URL_ = 'https://hooks.example.com/T00/B00/not-for-the-log?key=nor-this'

const alerts = (addresses: unknown) => ({ ALERTS: JSON.stringify(addresses) })
const one = (changes: object) => alerts({ ops: { url: URL_, secret: SECRET, ...changes } })

describe('ALERTS', () => {
  it('is unset, empty, or addresses by name', async () => {
    for (const ALERTS of [undefined, '', ' \n', '{}']) {
      expect((await configOf({ ALERTS })).alertAddresses).toEqual([])
    }
    const read = await configOf(
      alerts({
        ops: { url: URL_, secret: SECRET },
        'team-b': {
          url: 'https://discord.com/api/webhooks/1/x',
          secret: [OTHER, SECRET],
          format: 'discord',
        },
      }),
    )
    expect(read.alertAddresses).toEqual([
      { name: 'ops', url: URL_, secrets: [new Uint8Array(32).fill(7)], format: 'standard' },
      {
        name: 'team-b',
        url: 'https://discord.com/api/webhooks/1/x',
        secrets: [new Uint8Array(24).fill(9), new Uint8Array(32).fill(7)],
        format: 'discord',
      },
    ])
  })

  it('takes an address of this machine only where the upstream is on it too', async () => {
    for (const url of ['http://localhost:9/x', 'http://127.0.0.1:9/x', 'https://[::1]/x']) {
      expect(await faultsOf(one({ url }))).toEqual([
        'ALERTS.ops.url: must not be a loopback address, unless UPSTREAM_URL is one too',
      ])
      const local = { ...one({ url }), UPSTREAM_URL: 'http://localhost:8788/api/v1' }
      expect((await configOf(local)).alertAddresses).toHaveLength(1)
    }
    const plain = { ...one({ url: 'http://example.com' }), UPSTREAM_URL: 'http://127.0.0.1/api/v1' }
    expect(await faultsOf(plain)).toEqual(['ALERTS.ops.url: must start with https:'])
  })

  it.each([
    ...['10.1.2.3', '172.16.0.1', '172.31.255.255', '192.168.1.1', '169.254.169.254', '100.64.0.1'],
    ...['0.0.0.0', '198.18.0.1', '224.0.0.1', '255.255.255.255', '192.0.2.1', '203.0.113.9'],
    // The same in other ways of writing.
    ...['0xa9fea9fe', '2852039166', '0251.0376.0251.0376', '0x0a.1', '10.1', '192.168.257'],
    ...[
      '[fd00::1]',
      '[fe80::1]',
      '[::]',
      '[::ffff:8.8.8.8]',
      '[::ffff:a9fe:a9fe]',
      '[64:ff9b::a00:1]',
    ],
    ...['[2002:0a00:0001::]', '[ff02::1]', '[2001:db8::1]', '[fec0::1]', '[::8.8.8.8]'],
    ...[
      'metadata.google.internal',
      'printer.local',
      'intranet',
      'x.localhost',
      'nas.lan',
      'a.local.',
    ],
  ])('does not send to %s', async (host) => {
    expect(await faultsOf(one({ url: `https://${host}/hook` }))).toEqual([
      'ALERTS.ops.url: must be a host of the public internet, and not an address or a name of a private network',
    ])
  })

  it.each([
    'example.com',
    'example.com.',
    '8.8.8.8',
    '172.32.0.1',
    '[2606:4700::1111]',
    'internal.example.com',
  ])('sends to %s', async (host) => {
    expect(await faultsOf(one({ url: `https://${host}/hook` }))).toEqual([])
  })

  it.each<[string, object, string]>([
    ['no secret', { secret: undefined }, '.secret[0]: must be whsec_'],
    ['a secret without its prefix', { secret: SECRET.slice(6) }, '.secret[0]: must be whsec_'],
    [
      'a short secret',
      { secret: `whsec_${Buffer.alloc(23).toString('base64')}` },
      '.secret[0]: must',
    ],
    [
      'a long secret',
      { secret: `whsec_${Buffer.alloc(65).toString('base64')}` },
      '.secret[0]: must',
    ],
    ['a secret that is no base64', { secret: 'whsec_____' }, '.secret[0]: must be whsec_'],
    ['one bad secret of two', { secret: [SECRET, 'x'] }, '.secret[1]: must be whsec_'],
    ['no secret in the list', { secret: [] }, '.secret: must have at least one secret'],
    ['six secrets', { secret: Array(6).fill(SECRET) }, '.secret: must have at most 5 secrets'],
    ['no URL', { url: undefined }, '.url: must be a URL'],
    ['a relative URL', { url: '/hook' }, '.url: must be an absolute URL'],
    ['plain http', { url: 'http://example.com' }, '.url: must start with https:'],
    ['another scheme', { url: 'ftp://example.com' }, '.url: must start with https:'],
    [
      'a name and a password',
      { url: 'https://me:pass@example.com' },
      '.url: must not contain credentials',
    ],
    [
      'an unknown form',
      { format: 'teams' },
      '.format: must be one of "standard", "slack", "discord"',
    ],
    ['an unknown field', { secrets: SECRET }, '.secrets: unknown field; did you mean "secret"?'],
  ])('refuses %s', async (_, changes, fault) => {
    const faults = await faultsOf(one(changes))
    expect(faults).toHaveLength(1)
    expect(faults[0]).toContain(`ALERTS.ops${fault}`)
  })

  it('refuses what is no object, too many addresses, and a name that is none', async () => {
    const [text] = await faultsOf({ ALERTS: URL_ })
    expect(text).toMatch(/^ALERTS: must be a JSON object: .* and is not valid JSON/)
    expect((await faultsOf({ ALERTS: '[]' }))[0]).toMatch(/^ALERTS: must be a JSON object/)
    const many = Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`a${i}`, {}]))
    expect(await faultsOf(alerts(many))).toEqual(['ALERTS: must have at most 20 addresses'])
    const [name] = await faultsOf(alerts({ [URL_]: { url: URL_, secret: SECRET } }))
    expect(name).toMatch(/^ALERTS\.\(name not shown\): a name must be/)
  })

  it('tells nothing of a URL or a secret in any fault', async () => {
    const bad = [
      { url: `${URL_}#x`.replace('https', 'http'), secret: `${SECRET}!` },
      { url: 'https://hooks.example.com\\@10.0.0.1/not-for-the-log', secret: SECRET.slice(6) },
      { url: ['https://not-for-the-log'], secret: { [SECRET]: SECRET } },
    ]
    for (const given of bad) {
      const text = (await faultsOf(alerts({ ops: given, [SECRET.slice(6)]: given }))).join('\n')
      expect(text).not.toMatch(/not-for|nor-this|hooks|10\.0\.0\.1/)
      expect(text).not.toContain(SECRET.slice(6))
    }
  })
})

describe('POLICY.alerts', () => {
  const both = alerts({
    slack: { url: URL_, secret: SECRET },
    pager: { url: URL_, secret: SECRET },
  })
  const toOf = async (to: unknown) => {
    const { policy } = await configOf({ ...both, POLICY: { alerts: { to } } })
    return policy.alerts.to
  }

  it('names events for addresses', async () => {
    expect(await toOf({ pager: ['pool_degraded'], slack: ['*'] })).toEqual(
      new Map([
        ['pager', ['pool_degraded']],
        ['slack', ['*']],
      ]),
    )
  })

  it.each<[string, object, string]>([
    [
      'a misspelt name',
      { to: { slak: ['*'] } },
      'POLICY.alerts.to.slak: no address of ALERTS has that name; did you mean "slack"?',
    ],
    [
      'a name that is nothing like one',
      { to: { somebody: ['*'] } },
      'POLICY.alerts.to.somebody: no address of ALERTS has that name; the addresses are slack, pager',
    ],
    [
      'a misspelt event',
      { to: { slack: ['key_reject'] } },
      'POLICY.alerts.to.slack[0]: is no event, given "key_reject"; did you mean "key_rejected"?',
    ],
    ['no events', { to: { slack: [] } }, 'POLICY.alerts.to.slack: must be a list of 1 to'],
    [
      'an event twice',
      { to: { slack: ['*', '*'] } },
      'POLICY.alerts.to.slack[1]: must not occur twice',
    ],
    ['no table', { to: ['slack'] }, 'POLICY.alerts.to: must be a table of names of ALERTS'],
    [
      'a short interval',
      { interval_s: 59 },
      'POLICY.alerts.interval_s: must be a number from 60 to',
    ],
    [
      'an unknown field',
      { interval: 300 },
      'POLICY.alerts.interval: unknown field; did you mean "interval_s"?',
    ],
  ])('refuses %s', async (_, policy, fault) => {
    const faults = await faultsOf({ ...both, POLICY: { alerts: policy } })
    expect(faults).toHaveLength(1)
    expect(faults[0]).toContain(fault)
  })

  it('says that there are no addresses at all', async () => {
    expect(await faultsOf({ POLICY: { alerts: { to: { ops: ['*'] } } } })).toEqual([
      'POLICY.alerts.to.ops: no address of ALERTS has that name; ALERTS has no addresses',
    ])
  })
})
