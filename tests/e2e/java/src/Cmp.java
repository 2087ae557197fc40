import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.security.Security;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

/**
 * CMP with libraries written by others, for tests/e2e/test_cmp_java.py: one process for the whole file, as a JVM takes its time to start. A line
 * in, a line out: "ok" or "failed", and members. "waiting" comes in between, when the server has said that it takes time; the client asks again
 * after one more line.
 */
final class Cmp {
    private static final BufferedReader IN = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));

    private Cmp() {}

    private static void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static void pause() {
        try {
            say("waiting");
            IN.readLine();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static String why(Throwable t) {
        StringBuilder all = new StringBuilder();
        for (Throwable c = t; c != null; c = c.getCause())
            all.append(all.length() == 0 ? "" : ": ").append(c.getClass().getSimpleName()).append(' ').append(c.getMessage());
        return all.toString().replaceAll("[\\t\\n\\r]+", " ");
    }

    private static String run(Asked in, Post post) throws Exception {
        switch (in.verb) {
            case "siemens":
                return new Siemens(in, post).run();
            case "bc":
                return new Bouncy(in, post).run();
            case "ra":
                return "port=" + new Authority(in).start();
            default:
                throw new IllegalArgumentException("no such word");
        }
    }

    public static void main(String[] args) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        for (String line = IN.readLine(); line != null; line = IN.readLine()) {
            Asked in = new Asked(line);
            Post post = new Post(in.need("url"), Cmp::pause);
            String done;
            try {
                done = "ok\t" + run(in, post);
            } catch (Throwable t) {
                t.printStackTrace();
                done = "failed\twhy=" + why(t);
            }
            say(done + "\ttypes=" + post.types + "\tsaid=" + post.said.replaceAll("[\\t\\n\\r]+", " "));
        }
        System.exit(0); /* authorities and all */
    }
}
