import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Page } from 'playwright-core'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { useGateway, useSimulator } from '../e2e/harness.ts'
import { chromiumPath } from './chromium.ts'
import {
  ADMIN_TOKEN,
  enterOn,
  type OperatorPage,
  SCREENS,
  tabTo,
  useBrowser,
} from './operator-browser.ts'

/** Two hundred keys, each of an account of its own. */
const NAMES = Array.from({ length: 200 }, (_, i) => `team-${String(i + 1).padStart(3, '0')}`)
const secretOf = (name: string) => `sk-or-v1-simulated-${name}`
const [FIRST = '', SECOND = ''] = NAMES

/** Whoever has no Chromium can run all other tests. In CI its absence is a failure. */
const isLeftOut = chromiumPath() === null && process.env.CI === undefined
if (isLeftOut) {
  process.stderr.write(
    'test/browser is left out: Chromium is not installed (apt-get install chromium)\n',
  )
}

describe.skipIf(isLeftOut)('the dashboard', () => {
  const upstream = useSimulator({ resets: false })
  const gateway = useGateway(upstream, {
    assets: true,
    policy: { strategy: 'priority', breaker: { failures: 1, cooldown_s: 600 } },
    secrets: {
      ADMIN_TOKEN,
      OPENROUTER_KEYS: JSON.stringify(
        NAMES.map((id) => ({ id, key: secretOf(id), account: `account-of-${id}` })),
      ),
    },
  })
  const { open, signedIn } = useBrowser(gateway)

  beforeAll(async () => {
    await upstream.control.reset({
      accounts: NAMES.map((name) => ({ id: `account-of-${name}` })),
      keys: NAMES.map((name) => ({ key: secretOf(name), name, accountId: `account-of-${name}` })),
    })
  })

  let opened: OperatorPage[] = []
  const remembered = <T extends OperatorPage>(page: T): T => {
    opened.push(page)
    return page
  }
  afterEach(async () => {
    const offences = opened.flatMap((page) => page.offences)
    for (const { context } of opened) await context.close()
    opened = []
    // No request leaves the origin, and the console is silent, in every test.
    expect(offences).toEqual([])
  })

  it('is opened by the token, typed and sent without a mouse, and closed by signing out', async () => {
    const { page } = remembered(await open())
    await page.goto(`${gateway().origin}/admin`)
    expect(new URL(page.url()).pathname).toBe('/admin/sign-in')
    // The field has the focus by itself.
    await page.locator('input[name=token]:focus').waitFor()
    await page.keyboard.type(ADMIN_TOKEN)
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'All 200 keys usable' }).waitFor()
    await page.getByText('live', { exact: true }).waitFor()
    // A page that nobody sees asks for nothing.
    const closed = page.waitForEvent('requestfailed', (request) =>
      request.url().includes('/admin/api/events'),
    )
    await page.evaluate(showing(false))
    await closed
    await page.evaluate(showing(true))
    await page.getByText('live', { exact: true }).waitFor()
    await enterOn(page, 'Sign out')
    await page.waitForURL('**/admin/sign-in')
    await page.goto(`${gateway().origin}/admin`)
    expect(new URL(page.url()).pathname).toBe('/admin/sign-in')
  })

  it('shows within two seconds that a breaker opens, and on any screen which, why and until when', async () => {
    const { page } = remembered(await signedIn())
    await page.getByText('live', { exact: true }).waitFor()
    await upstream.control.rule({ fault: 'plain-502', match: { key: FIRST } })
    const answer = await gateway().chat({})
    expect(answer.headers.get('x-switchyard-key')).toBe(SECOND)
    await answer.arrayBuffer()
    await page.getByRole('heading', { name: '199 of 200 keys usable' }).waitFor({ timeout: 2_000 })
    const phone = remembered(await signedIn({ viewport: SCREENS.phone })).page
    for (const [name, on] of [
      ['desk', page],
      ['phone', phone],
    ] as const) {
      const trouble = on.locator('.troubles li')
      expect(await trouble.textContent(), name).toMatch(
        new RegExp(`^${FIRST} breaker is open until .+ UTC\\)? in \\d+ min`),
      )
      // What has just been replaced by what is newer has none.
      const box = await vi.waitFor(async () => {
        const place = await trouble.boundingBox()
        if (place === null) throw new Error('Not shown')
        return place
      }, 5_000)
      expect(box.y + box.height, name).toBeLessThanOrEqual(SCREENS[name].height)
      expect(box.x + box.width, name).toBeLessThanOrEqual(SCREENS[name].width)
      // The most urgent key is the first row of the table, too.
      expect(await on.locator('#key-rows tr').first().getAttribute('id')).toBe(`key-${FIRST}`)
      // New York's time, with UTC beside it.
      expect(await trouble.locator('time').textContent()).toMatch(
        /^\d+:\d+:\d+ [AP]M \(\d+:\d+:\d+ UTC\)/,
      )
    }
  })

  it('pauses a key and resumes it, by keyboard, and says who did', async () => {
    const { page } = remembered(await signedIn())
    await enterOn(page, `pause ${SECOND}`)
    await page.getByRole('heading', { name: `Pause the key ${SECOND}?` }).waitFor()
    // What confirms it has the focus.
    await page.keyboard.press('Enter')
    await page.getByText(`The key ${SECOND} is paused.`).waitFor()
    expect(await page.locator(`#key-${SECOND} .badge`).textContent()).toBe('paused')
    expect((await gateway().pool()).keys.find(({ id }) => id === SECOND)?.reason).toBe('paused')
    await enterOn(page, `resume ${SECOND}`)
    await page.getByRole('heading', { name: `Resume the key ${SECOND}?` }).waitFor()
    await page.keyboard.press('Enter')
    await page.getByText(`The key ${SECOND} takes requests again.`).waitFor()
    expect((await gateway().pool()).keys.find(({ id }) => id === SECOND)?.reason).toBeNull()
  })

  it('finds a request by its id, with each of its attempts', async () => {
    await upstream.control.rule({ fault: 'plain-502', match: { key: SECOND } })
    const answer = await gateway().chat({})
    const id = answer.headers.get('x-request-id') ?? ''
    expect(answer.headers.get('x-switchyard-attempts')).toBe('2')
    await answer.arrayBuffer()
    const asked = await fetch(`${gateway().origin}/admin/api/requests?id=${id}`, {
      headers: { authorization: `Bearer ${ADMIN_TOKEN}` },
    })
    expect(await asked.json()).toMatchObject({
      requests: [{ id, attempts: [{ key: SECOND }, { key: NAMES[2] }] }],
    })
    const { page } = remembered(await signedIn())
    // By itself it is the latest of the last ones.
    await page.locator('#last-requests').getByText(id).waitFor()
    await enterOn(page, 'Requests')
    await tabTo(page, 'Request id, as in x-request-id')
    await page.keyboard.type(id)
    await page.keyboard.press('Enter')
    const found = page.locator('#found')
    await found.waitFor()
    expect(await found.locator('tbody tr').count()).toBe(1)
    const attempts = await found.locator('.timeline li').allTextContents()
    expect(attempts[0]).toContain(SECOND)
    expect(attempts[1]).toContain(NAMES[2])
    expect(await found.textContent()).toContain('answered')
    await page.goto(`${gateway().origin}/admin?request=nobody-sent-this`)
    await page.getByText('No request of that id').waitFor()
  })

  it('explains which key a request would get, and why not the others', async () => {
    const { page } = remembered(await signedIn())
    await enterOn(page, 'Why that key?')
    await tabTo(page, 'Model')
    await page.keyboard.type('openai/gpt-4o-mini')
    await page.keyboard.press('Enter')
    const explained = page.locator('#explained')
    await explained.waitFor()
    expect(await explained.textContent()).toMatch(
      /^team-\d+ would be chosen for openai\/gpt-4o-mini/,
    )
    const first = explained.locator('tbody tr').first()
    expect(await first.textContent()).toMatch(new RegExp(`^${FIRST}.*breaker is open`))
  })

  it('makes a client and shows its token, this once', async () => {
    const { page } = remembered(await signedIn())
    await enterOn(page, 'Clients')
    await tabTo(page, 'Name')
    await page.keyboard.type('my-app')
    await tabTo(page, 'Budget in USD')
    await page.keyboard.type('2.50')
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'The token of my-app' }).waitFor()
    const token = (await page.locator('#token').textContent())?.trim() ?? ''
    expect(token).toMatch(/^sy-[0-9a-f]{64}$/)
    const answer = await gateway().chat({}, { authorization: `Bearer ${token}` })
    expect(answer.status).toBe(200)
    await answer.arrayBuffer()
    await enterOn(page, 'Back to the dashboard')
    const list = page.locator('#client-list')
    await list.getByText('my-app').waitFor()
    expect(await list.textContent()).toContain('of $2.50 a month')
    expect(await page.content()).not.toContain(token)
    // Its limits are changed there, too.
    await enterOn(page, 'change client my-app')
    await page.getByRole('heading', { name: 'The client my-app' }).waitFor()
    await tabTo(page, 'Requests a minute')
    await page.keyboard.type('7')
    await page.keyboard.press('Enter')
    await page.getByText('my-app is changed.').waitFor()
    expect(await list.textContent()).toContain('of 7 rpm')
  })

  it('has the documents of its API, from nowhere else', async () => {
    const { page } = remembered(await signedIn())
    await enterOn(page, 'Why that key?')
    await enterOn(page, 'The admin API')
    await page.getByText('keys/{id}/pause').first().waitFor()
    // Its parts are opened by the keyboard, too.
    const [operation = ''] = await page.locator('#api summary').allTextContents()
    await enterOn(page, operation.trim())
    await page.locator('#api details[open]').waitFor()
    expect(await whatKeepsPeopleOut(page)).toEqual([])
  })

  it('can be read by everybody, in light and dark, on a desk and on a phone', async () => {
    const { page } = remembered(await signedIn())
    await page.getByText('live', { exact: true }).waitFor()
    expect(await whatKeepsPeopleOut(page)).toEqual([])
  })
})

/** Colours do not depend on the width: the fourth pair would find what the others do. */
const SIGHTS = [
  ['desk', 'light'],
  ['desk', 'dark'],
  ['phone', 'dark'],
] as const

/** What keeps people out of what the page shows, in light and dark, on a desk and on a phone. */
async function whatKeepsPeopleOut(page: Page): Promise<string[]> {
  const found: string[] = []
  for (const [screen, colorScheme] of SIGHTS) {
    await page.setViewportSize(SCREENS[screen])
    await page.emulateMedia({ colorScheme })
    const faults = await seriousFaultsOf(page)
    found.push(...faults.map((fault) => `${screen}, ${colorScheme}: ${fault}`))
    const overflow = await page.evaluate('document.documentElement.scrollWidth - innerWidth')
    if (Number(overflow) > 0) found.push(`${screen}: ${overflow} pixels beyond the right edge`)
  }
  return found
}

/** What the browser tells a page whose tab is put behind another, or before them again. */
const showing = (isShown: boolean) => `
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => ${!isShown} })
  document.dispatchEvent(new Event('visibilitychange'))`

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8')

/**
 * What axe-core finds of what keeps people out. It is put in from outside: no page may load it. Two
 * hundred rows are alike, and so are the operations of the API: five of them are looked at.
 */
async function seriousFaultsOf(page: Page): Promise<string[]> {
  await page.evaluate(`globalThis.axe ?? (() => { ${AXE} })()`)
  return await page.evaluate(`axe
    .run({ exclude: ['#key-rows tr:nth-child(n+6)', '#api details:nth-child(n+6)'] }, { resultTypes: ['violations'] })
    .then(({ violations }) => violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .flatMap(({ id, nodes }) => nodes.slice(0, 3).map(({ html }) => id + ': ' + html)))`)
}
