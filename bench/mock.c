/* mock.c - constant, very fast upstream for chat completions and generateContent (single thread, epoll).
 *   build: gcc -O2 -o mock mock.c        run: ./mock PORT   (loopback only)
 * POST anything:
 *   body without "stream":true -> fixed ~1 KB chat.completion JSON (Content-Length, keep-alive)
 *   body with    "stream":true -> SSE, chunked, one write() per event
 * Behaviour is coded in the model name so it survives any gateway (for generateContent the name ends so: gemini-m-64-0):
 *   "m-<chunks>-<interval_us>"  e.g. "m-64-5000": 64 events, 5 ms apart (0 = back to back)
 *   for non-stream, <interval_us> is a reply delay.  Any other model: 64 events, no delay.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#define MAXFD 65536
#define INBUF (1<<16) /* at first; it grows with what a client sends, up to INMAX */
#define INMAX (1<<24)
typedef struct { char *in; int n, cap; int active, chunks, sent, stream, voice; long iv; unsigned gen; char *out; int on, oo; } Conn;
static Conn C[MAXFD]; static int ep;
typedef struct { long t; int fd; unsigned gen; } Ev;
static Ev *heap; static int hn, hcap;
static long now_us(void){ struct timespec t; clock_gettime(CLOCK_MONOTONIC,&t); return t.tv_sec*1000000L+t.tv_nsec/1000; }
static void hpush(long t,int fd,unsigned g){ if(hn==hcap){hcap=hcap?hcap*2:1024;heap=realloc(heap,hcap*sizeof(Ev));}
  int i=hn++; while(i&&heap[(i-1)/2].t>t){heap[i]=heap[(i-1)/2];i=(i-1)/2;} heap[i]=(Ev){t,fd,g}; }
static Ev hpop(void){ Ev r=heap[0],l=heap[--hn]; int i=0; for(;;){int c=2*i+1; if(c>=hn)break; if(c+1<hn&&heap[c+1].t<heap[c].t)c++; if(heap[c].t>=l.t)break; heap[i]=heap[c]; i=c;} heap[i]=l; return r; }
typedef struct { char r200[4096]; int r200n; char ev[512]; int evn; char fin[768]; int finn; } Voice; static Voice V[2]; /* 0: chat completions, 1: generateContent */
static const char SH[]="HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
static void closec(int fd){ Conn*c=&C[fd]; free(c->in); free(c->out); unsigned g=c->gen+1; memset(c,0,sizeof*c); c->gen=g; close(fd); }
static int put(int fd,const char*b,int n){ Conn*c=&C[fd]; int w=0;
  if(!c->on){ w=write(fd,b,n); if(w<0){ if(errno!=EAGAIN){closec(fd);return -1;} w=0; } if(w==n) return 0; }
  c->out=realloc(c->out,c->on+n-w); memcpy(c->out+c->on,b+w,n-w); c->on+=n-w;
  struct epoll_event e={EPOLLIN|EPOLLOUT,{.fd=fd}}; epoll_ctl(ep,EPOLL_CTL_MOD,fd,&e); return 0; }
static void flush_out(int fd){ Conn*c=&C[fd]; int w=write(fd,c->out+c->oo,c->on-c->oo); if(w<0){ if(errno!=EAGAIN)closec(fd); return; }
  c->oo+=w; if(c->oo==c->on){ free(c->out);c->out=0;c->on=c->oo=0; struct epoll_event e={EPOLLIN,{.fd=fd}}; epoll_ctl(ep,EPOLL_CTL_MOD,fd,&e);} }
static void process(int fd);
static void step(int fd){ Conn*c=&C[fd]; Voice*v=&V[c->voice];   /* emit next event(s) of the active reply */
  if(!c->stream){ c->active=0; if(put(fd,v->r200,v->r200n)==0) process(fd); return; }
  do { if(c->sent==0){ char b[1024]; int n=sizeof SH-1; memcpy(b,SH,n); memcpy(b+n,v->ev,v->evn); c->sent=1; if(put(fd,b,n+v->evn)<0)return; }
       else if(c->sent<c->chunks){ c->sent++; if(put(fd,v->ev,v->evn)<0)return; }
       if(c->sent>=c->chunks){ c->active=0; if(put(fd,v->fin,v->finn)==0) process(fd); return; }
  } while(!c->iv);
  hpush(now_us()+c->iv,fd,c->gen); }
static void process(int fd){ Conn*c=&C[fd];
  while(!c->active&&c->n){ c->in[c->n]=0; char*h=memmem(c->in,c->n,"\r\n\r\n",4); if(!h)return; int hl=h+4-c->in; long cl=0; int ch=0;
    char sv=*h; *h=0; char*p=strcasestr(c->in,"\r\ncontent-length:"); if(p)cl=atol(p+17); if(strcasestr(c->in,"\r\ntransfer-encoding: chunked"))ch=1; *h=sv;
    int tot; if(ch){ char*e=memmem(h+4,c->n-hl,"0\r\n\r\n",5); if(!e)return; tot=e+5-c->in; } else { if(c->n<hl+cl)return; tot=hl+cl; }
    char*b=h+4; int bl=tot-hl; c->voice=memmem(c->in,hl,"enerateContent",14)!=0; /* path of generateContent or streamGenerateContent */
    c->stream=c->voice?memmem(c->in,hl,":streamGen",10)!=0:(memmem(b,bl,"\"stream\":true",13)||memmem(b,bl,"\"stream\": true",14));
    c->chunks=64;c->iv=0;c->sent=0; char*m=c->voice?memmem(c->in,hl,"-m-",3):memmem(b,bl,"\"m-",3); if(m){ int k; long iv; if(sscanf(m+3,"%d-%ld",&k,&iv)==2){c->chunks=k;c->iv=iv;} }
    memmove(c->in,c->in+tot,c->n-tot); c->n-=tot; 
    if(c->stream){ c->active=1; step(fd); return; }
    if(c->iv){ c->active=1; hpush(now_us()+c->iv,fd,c->gen); return; }
    if(put(fd,V[c->voice].r200,V[c->voice].r200n)<0)return; } }
int main(int ac,char**av){ signal(SIGPIPE,SIG_IGN); struct rlimit rl={65000,65000}; setrlimit(RLIMIT_NOFILE,&rl);
  char content[700]; int k=0; while(k<560) k+=sprintf(content+k,"The quick brown fox jumps over the lazy dog %d. ",k);
  char body[2048]; int bn=sprintf(body,"{\"id\":\"chatcmpl-mock0123456789\",\"object\":\"chat.completion\",\"created\":1760000000,\"model\":\"mock\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":128,\"total_tokens\":152,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\"}",content);
  char ev[400],f[600]; Voice*v=&V[0];
  v->r200n=sprintf(v->r200,"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",bn,body);
  int en=sprintf(ev,"data: {\"id\":\"chatcmpl-mock0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"mock\",\"system_fingerprint\":\"fp_mock\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n");
  v->evn=sprintf(v->ev,"%x\r\n%s\r\n",en,ev);
  int fn=sprintf(f,"data: {\"id\":\"chatcmpl-mock0123456789\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"mock\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":24,\"completion_tokens\":64,\"total_tokens\":88}}\n\ndata: [DONE]\n\n");
  v->finn=sprintf(v->fin,"%x\r\n%s\r\n0\r\n\r\n",fn,f);
  v=&V[1];
  bn=sprintf(body,"{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"%s\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":24,\"candidatesTokenCount\":128,\"totalTokenCount\":152},\"modelVersion\":\"mock\",\"responseId\":\"mock0123456789\"}",content);
  v->r200n=sprintf(v->r200,"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",bn,body);
  en=sprintf(ev,"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\" token\"}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":24,\"totalTokenCount\":24},\"modelVersion\":\"mock\",\"responseId\":\"mock0123456789\"}\n\n");
  v->evn=sprintf(v->ev,"%x\r\n%s\r\n",en,ev);
  fn=sprintf(f,"data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"\"}],\"role\":\"model\"},\"finishReason\":\"STOP\",\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":24,\"candidatesTokenCount\":64,\"totalTokenCount\":88},\"modelVersion\":\"mock\",\"responseId\":\"mock0123456789\"}\n\n");
  v->finn=sprintf(v->fin,"%x\r\n%s\r\n0\r\n\r\n",fn,f);
  int s=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0),one=1; setsockopt(s,SOL_SOCKET,SO_REUSEADDR,&one,sizeof one);
  struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(ac>1?atoi(av[1]):9000)}; inet_pton(AF_INET,"127.0.0.1",&a.sin_addr);
  if(bind(s,(void*)&a,sizeof a)||listen(s,4096)){perror("bind");return 1;}
  ep=epoll_create1(0); struct epoll_event e={EPOLLIN,{.fd=s}}; epoll_ctl(ep,EPOLL_CTL_ADD,s,&e); struct epoll_event evs[512];
  for(;;){ int to=-1; if(hn){ long d=heap[0].t-now_us(); to=d<=0?0:(d+999)/1000; }
    int n=epoll_wait(ep,evs,512,to);
    for(int i=0;i<n;i++){ int fd=evs[i].data.fd;
      if(fd==s){ int c; while((c=accept4(s,0,0,SOCK_NONBLOCK))>=0){ if(c>=MAXFD){close(c);continue;} setsockopt(c,IPPROTO_TCP,TCP_NODELAY,&one,sizeof one); C[c].in=malloc(INBUF+1); C[c].n=0; C[c].cap=INBUF; struct epoll_event x={EPOLLIN,{.fd=c}}; epoll_ctl(ep,EPOLL_CTL_ADD,c,&x);} continue; }
      Conn*c=&C[fd]; if(evs[i].events&EPOLLOUT){ if(c->on)flush_out(fd); if(!c->in)continue; }
      if(evs[i].events&(EPOLLIN|EPOLLHUP|EPOLLERR)){ if(c->n==c->cap&&c->cap<INMAX)c->in=realloc(c->in,(c->cap*=2)+1); int r=read(fd,c->in+c->n,c->cap-c->n); if(r==0||(r<0&&errno!=EAGAIN)){closec(fd);continue;} if(r>0){c->n+=r; process(fd);} } }
    long t=now_us(); while(hn&&heap[0].t<=t){ Ev v=hpop(); if(C[v.fd].gen==v.gen&&C[v.fd].active)step(v.fd); } } }
