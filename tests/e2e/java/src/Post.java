import com.siemens.pki.cmpracomponent.main.CmpRaComponent.UpstreamExchange;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import org.bouncycastle.asn1.cmp.CertRepMessage;
import org.bouncycastle.asn1.cmp.ErrorMsgContent;
import org.bouncycastle.asn1.cmp.PKIBody;
import org.bouncycastle.asn1.cmp.PKIMessage;
import org.bouncycastle.asn1.cmp.PKIStatus;
import org.bouncycastle.asn1.cmp.PKIStatusInfo;
import org.bouncycastle.asn1.cmp.RevRepContent;

/** CMP over HTTP (RFC 9811), which neither library does by itself. Keeps what the server has said for the test to see. */
final class Post implements UpstreamExchange {
    private static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private final URI to;
    private final Runnable onWait;
    final StringBuilder types = new StringBuilder();
    String said = "";
    PKIMessage last;

    /** onWait is run when the server has said that it takes time, before the client asks again. */
    Post(String url, Runnable onWait) {
        this.to = URI.create(url);
        this.onWait = onWait;
    }

    private byte[] send(byte[] message) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(to).timeout(Duration.ofSeconds(30)).header("Content-Type", "application/pkixcmp")
                .POST(HttpRequest.BodyPublishers.ofByteArray(message)).build();
        HttpResponse<byte[]> got = CLIENT.send(request, HttpResponse.BodyHandlers.ofByteArray());
        if (got.statusCode() != 200)
            throw new IOException("HTTP status " + got.statusCode());
        return got.body();
    }

    /** An answer, noted down. */
    PKIMessage ask(byte[] request) throws IOException, InterruptedException {
        PKIMessage answer = PKIMessage.getInstance(send(request));
        PKIBody body = answer.getBody();
        last = answer;
        types.append(types.length() == 0 ? "" : " ").append(body.getType());
        PKIStatusInfo refused = refusal(body);
        if (refused != null && refused.getStatusString() != null)
            said = refused.getStatusString().getStringAtUTF8(0).getString();
        return answer;
    }

    /** Of an error message, or of an answer with status rejection; null: it is none. */
    private static PKIStatusInfo refusal(PKIBody body) {
        if (body.getType() == PKIBody.TYPE_ERROR)
            return ((ErrorMsgContent) body.getContent()).getPKIStatusInfo();
        PKIStatusInfo status = null;
        if (body.getContent() instanceof CertRepMessage)
            status = ((CertRepMessage) body.getContent()).getResponse()[0].getStatus();
        else if (body.getContent() instanceof RevRepContent)
            status = ((RevRepContent) body.getContent()).getStatus()[0];
        return status != null && status.getStatus().intValue() == PKIStatus.REJECTION ? status : null;
    }

    static boolean isWaiting(PKIBody body) {
        return body.getContent() instanceof CertRepMessage
                && ((CertRepMessage) body.getContent()).getResponse()[0].getStatus().getStatus().intValue() == PKIStatus.WAITING;
    }

    void pause() {
        onWait.run();
    }

    /** For Siemens' client, which asks again at once, and then as often as it is told: every minute. */
    @Override
    public byte[] sendReceiveMessage(byte[] request, String certProfile, int firstBody) throws Exception {
        PKIMessage answer = ask(request);
        if (isWaiting(answer.getBody()))
            pause();
        return answer.getEncoded();
    }
}
