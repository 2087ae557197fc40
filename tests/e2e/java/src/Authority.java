import com.siemens.pki.cmpracomponent.configuration.CheckAndModifyResult;
import com.siemens.pki.cmpracomponent.configuration.CkgContext;
import com.siemens.pki.cmpracomponent.configuration.CmpMessageInterface;
import com.siemens.pki.cmpracomponent.configuration.CmpMessageInterface.ReprotectMode;
import com.siemens.pki.cmpracomponent.configuration.Configuration;
import com.siemens.pki.cmpracomponent.configuration.CredentialContext;
import com.siemens.pki.cmpracomponent.configuration.InventoryInterface;
import com.siemens.pki.cmpracomponent.configuration.SupportMessageHandlerInterface;
import com.siemens.pki.cmpracomponent.configuration.VerificationContext;
import com.siemens.pki.cmpracomponent.main.CmpRaComponent;
import com.siemens.pki.cmpracomponent.main.CmpRaComponent.CmpRaInterface;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;
import org.bouncycastle.asn1.crmf.CertTemplate;
import org.bouncycastle.asn1.crmf.CertTemplateBuilder;
import org.bouncycastle.asn1.x500.X500Name;

/**
 * A registration authority: Siemens' RA component between devices and the server, behind an HTTP port of its own. mode: "around" puts devices' messages
 * into its own as they are (RFC 9483 section 5.2.2.1); "instead" replaces their protection by its own (5.2.3), and says raVerified of requests,
 * whose subject becomes what its inventory says that the device is called.
 */
final class Authority implements Configuration {
    private final Asked in;
    private final CmpRaInterface ra;
    private final boolean around;
    private final VerificationContext devices;
    private final VerificationContext server;
    private final CredentialContext own;

    Authority(Asked in) throws Exception {
        this.in = in;
        around = in.need("mode").equals("around");
        devices = Party.trust(Pem.certs(in.need("devices")), null);
        server = Party.trust(Pem.certs(in.need("anchors")), null);
        own = Party.signer(in.need("key"), in.need("cert"));
        ra = CmpRaComponent.instantiateCmpRaComponent(this, new Post(in.need("url"), () -> { }));
    }

    int start() throws IOException {
        HttpServer http = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        http.createContext("/", this::handle);
        http.setExecutor(Executors.newSingleThreadExecutor(work -> {
            Thread t = new Thread(work);
            t.setDaemon(true);
            return t;
        }));
        http.start();
        return http.getAddress().getPort();
    }

    private void handle(HttpExchange x) throws IOException {
        byte[] answer;
        try (x) {
            answer = ra.processRequest(x.getRequestBody().readAllBytes());
            x.getResponseHeaders().set("Content-Type", "application/pkixcmp");
            x.sendResponseHeaders(200, answer.length);
            x.getResponseBody().write(answer);
        } catch (Exception e) {
            e.printStackTrace();
            x.sendResponseHeaders(500, -1);
        }
    }

    // --- what the component asks for
    @Override
    public CmpMessageInterface getUpstreamConfiguration(String profile, int body) {
        return around ? Party.side(own, server, Party.around(own, server), ReprotectMode.keep) : Party.side(own, server, null, ReprotectMode.reprotect);
    }

    /** To devices the server's answers go as they are, and those of the component itself under its own key. */
    @Override
    public CmpMessageInterface getDownstreamConfiguration(String profile, int body) {
        return Party.side(own, devices, null, ReprotectMode.keep);
    }

    @Override
    public boolean getForceRaVerifyOnUpstream(String profile, int body) {
        return !around;
    }

    @Override
    public InventoryInterface getInventory(String profile, int body) {
        return around ? null : new Inventory();
    }

    private final class Inventory implements InventoryInterface {
        @Override
        public CheckAndModifyResult checkAndModifyCertRequest(byte[] tid, String requester, byte[] template, String subject, byte[] message) {
            CertTemplate old = CertTemplate.getInstance(template);
            CertTemplate named = new CertTemplateBuilder().setSubject(new X500Name("CN=" + in.need("udid"))).setPublicKey(old.getPublicKey()).build();
            return new CheckAndModifyResult() {
                @Override
                public byte[] getUpdatedCertTemplate() {
                    try {
                        return named.getEncoded();
                    } catch (IOException e) {
                        throw new IllegalStateException(e);
                    }
                }

                @Override
                public boolean isGranted() {
                    return true;
                }
            };
        }

        @Override
        public boolean checkRevocationRequest(byte[] tid, String requester, String serial, String issuer, byte[] message) {
            return true;
        }

        @Override
        public boolean checkP10CertRequest(byte[] tid, String requester, byte[] csr, String subject, byte[] message) {
            return true;
        }
    }

    @Override
    public VerificationContext getEnrollmentTrust(String profile, int body) {
        return server;
    }

    @Override
    public CkgContext getCkgConfiguration(String profile, int body) {
        return null;
    }

    @Override
    public int getDownstreamTimeout(String profile, int body) {
        return 30;
    }

    @Override
    public int getRetryAfterTimeInSeconds(String profile, int body) {
        return 1;
    }

    @Override
    public SupportMessageHandlerInterface getSupportMessageHandler(String profile, String infoType) {
        return null;
    }

    @Override
    public boolean isRaVerifiedAcceptable(String profile, int body) {
        return false;
    }
}
