import { join } from 'node:path'
import { startChromium } from '../browser/chromium.ts'
import { runDemo } from './demo-run.ts'
import { DEMO_TOKEN, LOCAL_ADMIN_TOKEN, startStack } from './stack.ts'
import { repositoryPath } from './wrangler-dev.ts'

/**
 * `npm run screenshots`: the pictures of the documents. A demo runs behind a gateway, and its dashboard
 * is taken as it is then: on a screen in the light, on a phone in the dark.
 */

const PICTURES = [
  { name: 'dashboard.png', viewport: { width: 1280, height: 800 }, colorScheme: 'light' },
  { name: 'dashboard-phone.png', viewport: { width: 390, height: 844 }, colorScheme: 'dark' },
] as const

const folder = process.argv[2] ?? join(repositoryPath, 'docs')
const stack = await startStack({ env: { ADMIN_TOKEN: LOCAL_ADMIN_TOKEN } })
try {
  const { gatewayUrl, simulatorUrl } = stack
  const target = { gatewayUrl, controlUrl: simulatorUrl, token: DEMO_TOKEN }
  await runDemo({ target, requests: 120, concurrency: 8 })
  const browser = await startChromium()
  for (const { name, ...screen } of PICTURES) {
    const page = await browser.newPage({ ...screen, timezoneId: 'Europe/Berlin', locale: 'en-GB' })
    await page.goto(`${gatewayUrl}/admin`)
    await page.getByLabel('ADMIN_TOKEN').fill(LOCAL_ADMIN_TOKEN)
    await page.getByRole('button', { name: 'Sign in' }).click()
    await page.getByText('live', { exact: true }).waitFor()
    await page.screenshot({ path: join(folder, name) })
    console.log(`docs/${name}`)
    if (process.argv[2])
      await page.screenshot({ path: join(folder, `full-${name}`), fullPage: true })
    await page.close()
  }
  await browser.close()
} finally {
  await stack.stop()
}
